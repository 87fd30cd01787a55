//! Folders whose files are embedded at compile time. The macros that embed them follow the files that they found; a file
//! that is added later would go unnoticed.

use std::io;

const EMBEDDED: [&str; 5] = ["knowledge_graph", "migrations", "models", "prompts", WEB_APP];
const WEB_APP: &str = "web/dist";

fn main() -> io::Result<()> {
    // Cargo takes a missing folder for a changed one and would compile at every call. An empty one means the same to the
    // server: it says on `/` that it has no web app.
    std::fs::create_dir_all(WEB_APP)?;
    for folder in EMBEDDED {
        println!("cargo:rerun-if-changed={folder}");
    }
    Ok(())
}
