//! HTTP: public links, conversion intake, events API. Thin handlers.
