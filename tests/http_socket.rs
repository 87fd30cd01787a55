//! The server on a real socket: streams, clients that leave, shutdown.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{GENERATOR, Script, TestApp};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use zhujiao::domain::Role;
use zhujiao::http::serve;

/// Ends a test that waits for what does not come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    app: TestApp,
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

async fn start(script: Script) -> Server {
    let app = TestApp::new(script).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, signal) = oneshot::channel();
    let stop = async {
        signal.await.ok();
    };
    let running = tokio::spawn(serve(listener, app.state.clone(), stop));
    Server { app, address, shutdown, running }
}

impl Server {
    /// Sends a chat request and leaves the connection open.
    async fn open_chat(&self, stream: bool) -> TcpStream {
        let message = json!({"role": "user", "content": "你好"});
        let body = json!({"model": GENERATOR, "messages": [message], "stream": stream}).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.app.key(Role::Teacher),
            body.len()
        );
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body.as_bytes()).await.unwrap();
        connection
    }
}

async fn one(semaphore: &Semaphore) {
    tokio::time::timeout(PATIENCE, semaphore.acquire()).await.expect("in time").unwrap().forget();
}

async fn read_until(connection: &mut TcpStream, expected: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if text.contains(expected) {
                return text;
            }
            assert_ne!(connection.read_buf(&mut read).await.unwrap(), 0, "the end came before {expected:?}: {text}");
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("in time")
}

#[tokio::test]
async fn a_token_arrives_before_the_next_one_is_made() {
    let server = start(Script::Hang).await;
    let mut connection = server.open_chat(true).await;
    let text = read_until(&mut connection, "等").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("x-accel-buffering: no"), "{text}");
}

#[tokio::test]
async fn a_reader_that_leaves_a_stream_stops_the_generation() {
    let server = start(Script::Hang).await;
    let mut connection = server.open_chat(true).await;
    read_until(&mut connection, "等").await;
    drop(connection);
    one(&server.app.generator.dropped).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting_stops_the_generation() {
    let server = start(Script::Hang).await;
    let connection = server.open_chat(false).await;
    one(&server.app.generator.begun).await;
    drop(connection);
    one(&server.app.generator.dropped).await;
}

#[tokio::test]
async fn shutdown_ends_streams_after_the_grace_period() {
    let server = start(Script::Hang).await;
    let mut connection = server.open_chat(true).await;
    read_until(&mut connection, "等").await;
    server.shutdown.send(()).unwrap();
    let text = read_until(&mut connection, "shutting_down").await;
    assert!(text.contains("event: error"), "{text}");
    one(&server.app.generator.dropped).await;
    tokio::time::timeout(PATIENCE, server.running).await.expect("in time").unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let server = start(Script::Hang).await;
    server.shutdown.send(()).unwrap();
    tokio::time::timeout(PATIENCE, server.running).await.expect("in time").unwrap().unwrap();
}
