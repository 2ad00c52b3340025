//! The engines as they really are: started, hurt, started again. Each test has a folder of its own.
mod cluster;
mod engines;
mod postgres;
mod processes;
