//! The command line as Dapr's programs read it: flags, commands, usage text,
//! error text and shell completion in the format that scripts, SDKs and other
//! tools match on (cli.md §1.2, runtime.md §1).
//!
//! The crate must not know any program: no flag of Dapr is named here,
//! reading flags prints nothing and reads no environment, and no state is kept
//! between calls.
//! Entry types: [`Flag`] and [`FlagSet`] for one list of flags, [`Command`] for
//! a tree of commands, [`completion`] for the shell scripts, [`output`] for what
//! a program answers on its terminal.
#![forbid(unsafe_code)]

mod command;
pub mod completion;
mod error;
mod flag;
mod help;
mod matches;
pub mod output;
mod parse;
mod set;
mod suggest;
mod usage;
mod value;

pub use command::{ArgCount, Command, FlagGroup, Outcome, Resolved};
pub use error::FlagError;
pub use flag::{Flag, Kind};
pub use matches::Matches;
pub use parse::Dashes;
pub use set::FlagSet;
