//! A whole edge in front of a gate that the tests play.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod file_rules;
mod files;
mod files_fixture;
mod gates;
mod hostile;
mod http;
mod limits;
mod openapi;
mod portal_fixture;
mod portal_money;
mod portal_pages;
mod portal_service;
mod pushes;
mod service_fixture;
mod sources;
mod world;
