//! Green Button (NAESB ESPI) files.
