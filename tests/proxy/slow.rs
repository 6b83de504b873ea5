//! Clients that take or bring next to nothing: each is given up, and those that are merely slow are not.
