//! The `posthaste` command. Everything is in the library; see `src/lib.rs`.

use std::process::ExitCode;

/// Rows and messages are made on one thread and dropped on another, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    posthaste::kill_points::arm();
    posthaste::cli::main()
}
