//! What every refusal looks like: status, code, message and details, over HTTP
//! and over gRPC. The answers are those of Dapr 1.18.3; `DAPRD_BIN` names
//! another program to ask.
#![forbid(unsafe_code)]

mod access;
mod ask;
mod blocks;
mod crypto;
mod fakes;
mod invocation;
mod limits;
mod pubsub;
mod state;
mod system;
