//! Resource files and custom resources as typed values: parsing, loading from
//! folders, validation, and the difference of two loaded sets.
#![forbid(unsafe_code)]
