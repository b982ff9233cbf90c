//! One Metadata request in Kafka's protocol: the cheapest question that only a working broker can answer.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Metadata, version 4: no brokers without a controller, no topic created by asking.
const API_KEY: i16 = 3;
const API_VERSION: i16 = 4;
const CORRELATION: i32 = 0x6c69_6e65;
/// An answer about no topic is some dozen bytes for each broker.
const LARGEST_ANSWER: i32 = 1 << 20;

/// Asks each of `brokers` (`host:port`, comma-separated) until one names itself and a controller.
pub(crate) fn ask(brokers: &str, patience: Duration) -> Result<(), String> {
    let mut answer = Err("no broker address given".to_owned());
    for broker in brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()) {
        answer = ask_one(broker, patience).map_err(|error| format!("{broker}: {error}"));
        if answer.is_ok() {
            break;
        }
    }
    answer
}

fn ask_one(broker: &str, patience: Duration) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let address = broker.to_socket_addrs().map_err(text)?.next().ok_or("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(text)?;
    stream.set_read_timeout(Some(patience)).map_err(text)?;
    stream.set_write_timeout(Some(patience)).map_err(text)?;
    stream.write_all(&request()).map_err(text)?;

    let mut size = [0; 4];
    stream.read_exact(&mut size).map_err(text)?;
    let size = i32::from_be_bytes(size);
    if !(0..=LARGEST_ANSWER).contains(&size) {
        return Err(format!("an answer of {size} bytes: this is not a Kafka broker"));
    }
    let mut answer = vec![0; size.unsigned_abs() as usize];
    stream.read_exact(&mut answer).map_err(text)?;
    match read(&answer).ok_or("an answer in another form: this is not a Kafka broker")? {
        (0, _) => Err("the broker knows no broker yet".into()),
        (_, controller) if controller < 0 => Err("there is no controller yet".into()),
        _ => Ok(()),
    }
}

fn request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(API_KEY.to_be_bytes());
    body.extend(API_VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend(8_i16.to_be_bytes());
    body.extend(b"devstack");
    body.extend(0_i32.to_be_bytes()); // no topic
    body.push(0); // and none is to be created
    let mut request = Vec::from((body.len() as i32).to_be_bytes());
    request.extend(body);
    request
}

/// The number of brokers and the controller's id, when the answer has the form of version 4.
fn read(answer: &[u8]) -> Option<(i32, i32)> {
    let mut rest = answer;
    if int(&mut rest)? != CORRELATION {
        return None;
    }
    let _throttle_ms = int(&mut rest)?;
    let brokers = int(&mut rest)?;
    for _ in 0..brokers {
        let _node = int(&mut rest)?;
        skip_string(&mut rest)?; // host
        let _port = int(&mut rest)?;
        skip_string(&mut rest)?; // rack
    }
    skip_string(&mut rest)?; // cluster
    Some((brokers, int(&mut rest)?))
}

fn int(rest: &mut &[u8]) -> Option<i32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(i32::from_be_bytes(*head))
}

/// A string is its length in two bytes, -1 for none, and its bytes.
fn skip_string(rest: &mut &[u8]) -> Option<()> {
    let (head, tail) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*head)).unwrap_or(0);
    *rest = tail.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What `ask` says of a server that gives `answer` to whatever it is asked.
    fn asked(answer: &[u8]) -> Result<(), String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = answer.to_vec();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; request().len()]).unwrap();
            stream.write_all(&answer).unwrap();
        });
        let outcome = ask(&address, Duration::from_secs(10));
        server.join().unwrap();
        outcome
    }

    fn metadata(brokers: &[&str], controller: i32) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(CORRELATION.to_be_bytes());
        body.extend(0_i32.to_be_bytes());
        body.extend((brokers.len() as i32).to_be_bytes());
        for host in brokers {
            body.extend(1_i32.to_be_bytes());
            body.extend((host.len() as i16).to_be_bytes());
            body.extend(host.as_bytes());
            body.extend(9092_i32.to_be_bytes());
            body.extend((-1_i16).to_be_bytes());
        }
        body.extend(1_i16.to_be_bytes());
        body.extend(b"c");
        body.extend(controller.to_be_bytes());
        body.extend(0_i32.to_be_bytes());
        let mut answer = Vec::from((body.len() as i32).to_be_bytes());
        answer.extend(body);
        answer
    }

    #[test]
    fn only_a_broker_with_a_controller_is_ready() {
        assert_eq!(asked(&metadata(&["localhost"], 1)), Ok(()));
        assert!(asked(&metadata(&["localhost"], -1)).unwrap_err().ends_with("there is no controller yet"));
        assert!(asked(&metadata(&[], 1)).unwrap_err().ends_with("the broker knows no broker yet"));
    }

    #[test]
    fn another_server_on_the_port_is_told_from_a_broker() {
        let text = asked(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
        assert!(text.ends_with("this is not a Kafka broker"), "{text}");
        let text = asked(&[0, 0, 0, 4, 1, 2, 3, 4]).unwrap_err();
        assert!(text.ends_with("this is not a Kafka broker"), "{text}");
    }

    #[test]
    fn a_second_address_is_asked_when_the_first_is_dead() {
        let dead = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string();
        let text = ask(&dead, Duration::from_secs(10)).unwrap_err();
        assert!(text.starts_with(&dead), "{text}");
        assert!(ask(&format!("{dead}, {dead}"), Duration::from_secs(10)).is_err());
        assert_eq!(ask("", Duration::from_secs(10)).unwrap_err(), "no broker address given");
    }
}
