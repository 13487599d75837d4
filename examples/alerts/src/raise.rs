//! `alerts raise SERVICE DETAIL` and `alerts clear SERVICE`: an event over HTTP, as the application's own backend.

use std::{
    error::Error,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::json;

const USAGE: &str = "alerts raise SERVICE DETAIL\nalerts clear SERVICE";

pub(crate) fn run(address: &str, server_key: &str, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (event, data) = match *arguments {
        ["raise", service, detail] => ("alert", json!({ "service": service, "detail": detail })),
        ["clear", service] => ("recovered", json!({ "service": service })),
        _ => return Err(USAGE.into()),
    };
    let body = data.to_string();
    let mut server = TcpStream::connect(address)?;
    write!(
        server,
        "POST /rooms/alerts/events/{event} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {server_key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
    )?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    let frame = answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
    if answer.starts_with("HTTP/1.1 200 ") {
        println!("{frame}");
        return Ok(());
    }
    Err(frame.into())
}
