//! Which version: stable draws by keyed hash, and verdicts from counts (design.md §4 and §7, definitions.md §3).
