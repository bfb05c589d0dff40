//! The socket below a connection, which can be cut from outside.
//!
//! The client library waits for its peer without limit where it knows of no heartbeat: in the handshake, and after it has
//! said goodbye. A broker that is reached but does not speak, because it hangs or its network swallows everything, would
//! cost a socket and a thread for each attempt, until there are none left.

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
};

/// A second handle on a socket. Dropping it cuts the connection.
#[derive(Debug)]
pub(super) struct Wire(TcpStream);

impl Wire {
    pub(super) fn of(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self(stream.as_fd().try_clone_to_owned()?.into()))
    }

    /// Ends it for both sides, at once: whoever reads from it reads its end.
    pub(super) fn cut(&self) {
        // An error means that it has ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}
