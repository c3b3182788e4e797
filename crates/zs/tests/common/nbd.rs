//! A client of NBD: the oldest handshake, and a request after the other.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const TRIM: u16 = 4;

/// A client that is connected to an export.
pub(crate) struct Client {
    stream: UnixStream,
    pub(crate) size: u64,
}

impl Client {
    /// Connects, and asks for an export (`NBD_OPT_EXPORT_NAME`).
    pub(crate) fn connect(socket: &Path, export: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting)?;
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        // Fixed newstyle, no zeroes.
        let mut hello = 3_u32.to_be_bytes().to_vec();
        hello.extend(b"IHAVEOPT\0\0\0\x01");
        hello.extend((export.len() as u32).to_be_bytes());
        hello.extend(export.as_bytes());
        stream.write_all(&hello)?;
        let mut agreed = [0; 10];
        stream.read_exact(&mut agreed)?;
        let size = u64::from_be_bytes(agreed[..8].try_into().unwrap());
        let mut client = Self { stream, size };
        // Once a request is answered, the device knows of the client.
        client.read(0, 512)?.unwrap();
        Ok(client)
    }

    fn send(&mut self, command: u16, offset: u64, len: usize, payload: &[u8]) -> io::Result<()> {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend([0; 2]);
        request.extend(command.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend((len as u32).to_be_bytes());
        request.extend(payload);
        self.stream.write_all(&request)
    }

    /// The protocol's error, 0 for none.
    fn reply(&mut self) -> io::Result<u32> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        Ok(u32::from_be_bytes(reply[4..8].try_into().unwrap()))
    }

    /// The bytes, or the protocol's error; an error of the socket if the server is gone.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> io::Result<Result<Vec<u8>, u32>> {
        self.send(READ, offset, len, &[])?;
        let error = self.reply()?;
        if error != 0 {
            return Ok(Err(error));
        }
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes)?;
        Ok(Ok(bytes))
    }

    /// The protocol's error, 0 for none; an error of the socket if the server is gone.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<u32> {
        self.send(WRITE, offset, bytes.len(), bytes)?;
        self.reply()
    }

    pub(crate) fn trim(&mut self, offset: u64, len: usize) -> io::Result<u32> {
        self.send(TRIM, offset, len, &[])?;
        self.reply()
    }

    /// Waits until the server has hung up, which is an error, or sends what nobody asked for.
    pub(crate) fn wait_for_end(&mut self) -> io::Result<()> {
        self.stream.read_exact(&mut [0])
    }

    /// Says goodbye, and waits until the server has closed.
    pub(crate) fn leave(mut self) {
        self.send(DISCONNECT, 0, 0, &[]).unwrap();
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0);
    }
}
