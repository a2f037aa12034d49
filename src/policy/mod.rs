//! May this person be sent this, on this channel, now; if not, why (design.md §7). Pure.
