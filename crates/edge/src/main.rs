//! `herd-edge`: the front door of the cache tier.

use herd_edge::{EdgeArgs, ROLE};
use herd_service::kit;

fn main() -> std::process::ExitCode {
    kit::run(ROLE, async |args: EdgeArgs, service| {
        let edge = herd_edge::build(&args, service).await?;
        Ok(edge.serve().await?)
    })
}
