//! The Pingora adapter: the only room that names pingora.
//!
//! It turns what came over the wire into values, lets the pipeline decide, finds out what this
//! node does not know, charges once, and carries out the decision: one writer for all answers of
//! the gateway's own, one place that chooses addresses. It decides nothing about who may do what.

mod adapter;
mod admin;
mod admit;
mod answer;
mod arrival;
mod attempt;
mod body;
pub mod canary;
mod connection;
mod context;
mod fault;
mod forward;
mod front;
mod gateway;
mod handshake;
mod listen;
mod logins;
mod pool;
mod record;
mod respond;
pub mod sample;
mod security;
mod server;
mod shadow;
mod sign_out;
mod sockets;
mod uses;

pub use admin::{AdminAnswers, AdminService};
pub use forward::preview;
pub use gateway::{Gateway, Generation, Parts};
pub use listen::claim;
pub use server::{RunError, run};
