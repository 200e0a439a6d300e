//! Results leaving the store for the places people use them at.

pub mod prefix;
