//! Every log line of the contract, byte for byte, and silence where the contract has none.

use std::thread;

use crate::program::{Service, ask, without_measures};

fn check(service: &Service, method: &str, path: &str, rest: &str) {
    service.ask(method, path);
    let expected = format!("{{\"timestamp\":\"T\",{rest}}}");
    assert_eq!(without_measures(&service.line()), expected, "{method} {path}");
}

#[test]
fn every_event_leaves_its_line() {
    let service = Service::start(&[]);
    check(
        &service,
        "GET",
        "/health",
        r#""level":"INFO","method":"GET","path":"/health","status_code":200,"duration_ms":D,"message":"Health check successful""#,
    );
    check(
        &service,
        "GET",
        "/api/menu",
        r#""level":"INFO","method":"GET","path":"/api/menu","status_code":200,"duration_ms":D,"message":"Listed 5 menu items""#,
    );
    check(
        &service,
        "PUT",
        "/api/menu/3",
        r#""level":"INFO","method":"PUT","path":"/api/menu/3","status_code":200,"duration_ms":D,"message":"Retrieved menu item: Classic Burger from Burger Joint","menu_item_id":"3""#,
    );
    check(
        &service,
        "GET",
        "/api/menu/99",
        r#""level":"WARN","method":"GET","path":"/api/menu/99","status_code":404,"duration_ms":D,"message":"Menu item ID 99 does not exist","error":"menu item not found","menu_item_id":"99""#,
    );
    check(
        &service,
        "GET",
        "/api/menu/",
        r#""level":"WARN","method":"GET","path":"/api/menu/","status_code":400,"duration_ms":D,"message":"Invalid menu item request","error":"missing menu item ID""#,
    );
}

#[test]
fn a_failed_list_is_an_error_line() {
    let service = Service::start(&["--failure-rate", "1"]);
    check(
        &service,
        "GET",
        "/api/menu",
        r#""level":"ERROR","method":"GET","path":"/api/menu","status_code":500,"duration_ms":D,"message":"Failed to list menu items","error":"restaurant service timeout""#,
    );
}

#[test]
fn hostile_input_stays_inside_its_line() {
    let service = Service::start(&[]);
    check(
        &service,
        "GET",
        "/api/menu/a%0A%7B%22level%22%3A%22ERROR%22%7D?level=ERROR",
        r#""level":"WARN","method":"GET","path":"/api/menu/a\n{\"level\":\"ERROR\"}","status_code":404,"duration_ms":D,"message":"Menu item ID a\n{\"level\":\"ERROR\"} does not exist","error":"menu item not found","menu_item_id":"a\n{\"level\":\"ERROR\"}""#,
    );
    check(
        &service,
        "BREW",
        "/api/menu/%20%3Cb%3E%20",
        r#""level":"WARN","method":"BREW","path":"/api/menu/ \u003cb\u003e ","status_code":404,"duration_ms":D,"message":"Menu item ID \u003cb\u003e does not exist","error":"menu item not found","menu_item_id":"\u003cb\u003e""#,
    );
}

#[test]
fn requests_the_router_turns_away_leave_no_line() {
    let service = Service::start(&[]);
    for (path, status) in [("/nowhere", 404), ("/", 404), ("/api//menu", 301), ("/api/menu/%zz", 400)] {
        assert_eq!(service.get(path).status, status);
    }
    service.get("/health");
    let next = service.line();
    assert!(next.contains("Health check successful"), "{next}");
}

#[test]
fn lines_of_concurrent_requests_never_mix() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 50;
    let service = Service::start(&[]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = service.address;
            scope.spawn(move || {
                for request in 0..REQUESTS {
                    ask(address, "GET", &format!("/api/menu/{client}-{request}-{}", "x".repeat(3000)), "");
                }
            });
        }
    });
    let mut ids: Vec<_> = (0..CLIENTS * REQUESTS)
        .map(|_| {
            let line: serde_json::Value =
                serde_json::from_str(&service.line()).expect("one whole object per line");
            line["menu_item_id"].as_str().unwrap().trim_end_matches('x').to_owned()
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), CLIENTS * REQUESTS);
}
