//! A receiver of mail that takes its time, for `sending.sh`: it answers the end of each letter only after a while, as one that looks at letters does.
//!
//! `cargo bench --bench receiver -- PORT MILLISECONDS`. It takes everything, keeps nothing, offers PIPELINING, and stops with its process.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let numbers: Vec<u16> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    // `cargo test --benches` and `cargo bench` alone come by here.
    let [port, delay] = numbers[..] else { return eprintln!("receiver: PORT MILLISECONDS") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = serve(stream, Duration::from_millis(delay.into())).await;
            });
        }
    });
}

async fn serve(mut stream: TcpStream, delay: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 slow.bench.example\r\n").await?;
    let mut buffer = Vec::with_capacity(65_536);
    loop {
        let mut answers = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &buffer) {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let verb = line[..line.len().min(4)].to_ascii_uppercase();
            let answer: &[u8] = match verb.as_slice() {
                b"EHLO" => b"250-slow.bench.example\r\n250 PIPELINING\r\n",
                b"DATA" => b"354 go on\r\n",
                b"QUIT" => b"221 2.0.0 bye\r\n",
                _ => b"250 2.0.0 Ok\r\n",
            };
            answers.extend_from_slice(answer);
            if verb == b"DATA" || verb == b"QUIT" {
                stream.write_all(&std::mem::take(&mut answers)).await?;
                if verb == b"QUIT" {
                    return Ok(());
                }
                body(&mut stream, &mut buffer).await?;
                tokio::time::sleep(delay).await;
                stream.write_all(b"250 2.0.0 Ok\r\n").await?;
            }
        }
        stream.write_all(&answers).await?;
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Reads up to the final dot; what came after it stays in the buffer.
async fn body(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    const END: &[u8] = b"\r\n.\r\n";
    let mut from = 0;
    loop {
        if let Some(at) = memchr::memmem::find(&buffer[from..], END) {
            buffer.drain(..from + at + END.len());
            return Ok(());
        }
        from = buffer.len().saturating_sub(END.len() - 1);
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
