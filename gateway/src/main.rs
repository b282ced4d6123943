//! The `hookmill` binary.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // What is allocated here lives for milliseconds. With huge pages the kernel clears 2 MiB for each stretch of
    // memory that mimalloc gives back and takes again: 4 % of all processor time under load. Where a kernel does
    // not know the call, nothing is lost but that.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    hookmill::cli::run()
}
