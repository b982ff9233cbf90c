//! Every answer of the contract, byte for byte, also to odd requests.

use crate::program::{Service, between};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

const PIZZA: &str = r#"{"id":"1","name":"Margherita Pizza","price":12.99,"available":true,"description":"Fresh mozzarella, tomato sauce, basil","restaurant":"Tony's Pizza","category":"Pizza","prep_time_minutes":20}"#;
const PAD_THAI: &str = r#"{"id":"2","name":"Chicken Pad Thai","price":14.99,"available":true,"description":"Rice noodles, chicken, peanuts, lime","restaurant":"Thai Palace","category":"Asian","prep_time_minutes":15}"#;
const BURGER: &str = r#"{"id":"3","name":"Classic Burger","price":11.99,"available":false,"description":"Beef patty, lettuce, tomato, cheese","restaurant":"Burger Joint","category":"Burgers","prep_time_minutes":12}"#;
const SALAD: &str = r#"{"id":"4","name":"Caesar Salad","price":8.99,"available":true,"description":"Romaine lettuce, parmesan, croutons","restaurant":"Healthy Bites","category":"Salads","prep_time_minutes":5}"#;
const SUSHI: &str = r#"{"id":"5","name":"Sushi Platter","price":24.99,"available":true,"description":"12 piece mixed sushi selection","restaurant":"Sakura Sushi","category":"Japanese","prep_time_minutes":25}"#;

fn menu() -> String {
    format!("{{\"menu_items\":[{}],\"count\":5}}\n", [PIZZA, PAD_THAI, BURGER, SALAD, SUSHI].join(","))
}

fn check(service: &Service, method: &str, path: &str, status: u16, content_type: &str, body: &str) {
    let answer = service.ask(method, path);
    assert_eq!((answer.status, answer.body.as_str()), (status, body), "{method} {path}");
    assert_eq!(answer.header("content-type"), Some(content_type), "{method} {path}");
    assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{method} {path}");
}

fn refused(error: &str, message: &str) -> String {
    format!("{{\"error\":\"{error}\",\"message\":\"{message}\"}}\n")
}

#[test]
fn every_route_answers_by_the_contract() {
    let service = Service::start(&[]);
    check(&service, "GET", "/api/menu", 200, JSON, &menu());
    for (id, item) in [("1", PIZZA), ("2", PAD_THAI), ("3", BURGER), ("4", SALAD), ("5", SUSHI)] {
        let body = format!("{{\"menu_item\":{item}}}\n");
        check(&service, "GET", &format!("/api/menu/{id}"), 200, JSON, &body);
    }
    let unknown = refused("Not Found", "Menu item with ID '42' not found");
    check(&service, "GET", "/api/menu/42", 404, JSON, &unknown);
    let empty = refused("Bad Request", "Menu item ID is required");
    check(&service, "GET", "/api/menu/", 400, JSON, &empty);
    check(&service, "GET", "/api/menu/%20%09", 400, JSON, &empty);

    let health = service.get("/health");
    assert_eq!((health.status, health.header("content-type")), (200, Some(JSON)));
    let timestamp = between(&health.body, "\"timestamp\":\"", "\"");
    assert_eq!(health.body, format!("{{\"status\":\"healthy\",\"timestamp\":\"{timestamp}\"}}\n"));
    assert_eq!(timestamp.replace(|c: char| c.is_ascii_digit(), "0"), "0000-00-00T00:00:00Z");
}

#[test]
fn a_failing_restaurant_is_a_500() {
    let service = Service::start(&["--failure-rate", "1"]);
    let body = refused("Internal Server Error", "Failed to fetch menu items from restaurant database");
    check(&service, "GET", "/api/menu", 500, JSON, &body);
    assert_eq!(service.get("/api/menu/1").status, 200, "only the list fails");
    assert_eq!(service.get("/health").status, 200, "the probe never fails");
}

#[test]
fn every_method_is_accepted_on_every_route() {
    let service = Service::start(&[]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        check(&service, method, "/api/menu", 200, JSON, &menu());
        assert_eq!(service.ask(method, "/health").status, 200);
        assert_eq!(service.ask(method, "/api/menu/").status, 400);
    }
    let head = service.ask("HEAD", "/api/menu");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some(menu().len().to_string().as_str()));
}

#[test]
fn anything_else_is_a_plain_404() {
    let service = Service::start(&[]);
    for path in
        ["/", "/health/", "/Health", "/api", "/api/menus", "/api/menu%2F1", "/favicon.ico", "/metrics"]
    {
        check(&service, "GET", path, 404, TEXT, "404 page not found\n");
        assert_eq!(service.get(path).header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn hostile_ids_come_back_as_json_strings_and_nothing_else() {
    let service = Service::start(&[]);
    let long = "x".repeat(8000);
    for (id, reflected) in [
        ("%22%7D", r#"\"}"#),
        ("a%0Ab%0D%00", r"a\nb\r\u0000"),
        ("%3Cscript%3E%26", r"\u003cscript\u003e\u0026"),
        ("1'%20OR%20'1'='1", "1' OR '1'='1"),
        ("%5Cu0041", r"\\u0041"),
        ("%F0%9F%8D%95", "\u{1f355}"),
        ("%E2%80%A8", ""),
        ("%FF", "\u{fffd}"),
        ("%201%2F2", "1/2"),
        ("1/2", "1/2"),
        ("%2531", "%31"),
        (&long, &long),
    ] {
        let trimmed = id == "%E2%80%A8"; // U+2028 is white space, so the id is empty
        let (status, body) = match trimmed {
            true => (400, refused("Bad Request", "Menu item ID is required")),
            false => (404, refused("Not Found", &format!("Menu item with ID '{reflected}' not found"))),
        };
        check(&service, "GET", &format!("/api/menu/{id}"), status, JSON, &body);
    }
    assert_eq!(service.get("/api/menu/%201%20").status, 200, "white space around an id is ignored");
    assert_eq!(service.get("/api/menu/%31").status, 200, "an escaped id is the same id");
}

#[test]
fn a_query_changes_nothing() {
    let service = Service::start(&[]);
    check(&service, "GET", "/api/menu?id=1&x=%zz", 200, JSON, &menu());
    check(&service, "GET", "/api/menu/?id=1", 400, JSON, &refused("Bad Request", "Menu item ID is required"));
}

#[test]
fn unclean_paths_are_redirected_as_go_does() {
    let service = Service::start(&[]);
    for (path, location) in [
        ("/api//menu", "/api/menu"),
        ("//health", "/health"),
        ("/api/./menu/1", "/api/menu/1"),
        ("/api/menu/1/..?a=b", "/api/menu?a=b"),
        ("/api/menu//1", "/api/menu/1"),
    ] {
        let answer = service.get(path);
        assert_eq!((answer.status, answer.header("location")), (301, Some(location)), "{path}");
    }
}

#[test]
fn malformed_requests_are_refused_and_the_service_lives_on() {
    let service = Service::start(&[]);
    for path in ["/api/menu/%zz", "/api/menu/%", "/%2"] {
        check(&service, "GET", path, 400, TEXT, "400 Bad Request");
    }
    let long = "y".repeat(70_000);
    assert_eq!(service.get(&format!("/api/menu/{long}")).status, 414);
    assert_eq!(
        service.ask_with("GET", "/health", &format!("X-Big: {}\r\n", "z".repeat(500_000))).status,
        431
    );
    assert_eq!(service.get("/health").status, 200);
}

#[test]
fn a_seed_repeats_its_failures_and_the_rate_holds() {
    let statuses = |seed: &str| {
        let service = Service::start(&["--failure-rate", "0.1", "--seed", seed]);
        (0..500).map(|_| service.get("/api/menu").status).collect::<Vec<_>>()
    };
    let first = statuses("11");
    assert_eq!(first, statuses("11"));
    assert_ne!(first, statuses("12"));
    let failures = first.iter().filter(|status| **status == 500).count();
    assert!((30..=70).contains(&failures), "{failures} of 500 at a rate of 0.1");
}
