//! Signs links, marks up a message; records opens, clicks, unsubscribes and conversions.
