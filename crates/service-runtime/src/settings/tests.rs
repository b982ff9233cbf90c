//! Reading: empty, partial, full and each invalid form, with the exact line an operator sees.

use std::{io::Write as _, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::Secret;

/// What a component might read.
#[derive(Debug, PartialEq)]
struct Component {
    listen: SocketAddr,
    brokers: Vec<String>,
    linger: Duration,
    buffer: ByteSize,
    retries: NonZeroU32,
    ratio: f64,
    verify: bool,
    headers: BTreeMap<String, String>,
    data: Option<PathBuf>,
    password: Option<Secret>,
}

fn read(root: &mut Section<'_>) -> Component {
    let listen = root.section("server", "The server.").value("listen", address("0.0.0.0:1"), "Where.");
    let mut kafka = root.section("kafka", "The broker.");
    let linger = kafka.value("linger", Duration::from_millis(5), "How long.");
    let buffer = kafka.value("buffer", ByteSize::mib(16), "How much.");
    if buffer < ByteSize::kib(1) {
        kafka.problem("buffer", "is too small to hold a record", "give 1KiB or more");
    }
    Component {
        listen,
        brokers: kafka.required("brokers", "127.0.0.1:9092", "Which."),
        linger,
        buffer,
        retries: kafka.value("retries", NonZeroU32::MIN, "How often."),
        ratio: kafka.value("ratio", 0.5, "What share."),
        verify: kafka.value("verify", true, "Whether."),
        headers: kafka.value("headers", BTreeMap::new(), "What else."),
        data: kafka.optional("data", "Where to."),
        password: kafka.secret("password", "Who."),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn check(yaml: &str, env: &[(&str, &str)]) -> (Component, Vec<String>) {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut settings = Settings::from_yaml("EDGE", yaml, env);
    let component = read(&mut settings.root());
    let problems = settings.finish().err().map(|problems| problems.iter().map(ToString::to_string).collect());
    (component, problems.unwrap_or_default())
}

/// `yaml` under `kafka` beside the required key gives exactly these problems.
fn check_kafka(yaml: &str, expected: &[&str]) {
    let (_, problems) = check(&format!("kafka:\n  brokers: [a:1]\n  {yaml}\n"), &[]);
    assert_eq!(problems, expected, "{yaml}");
}

#[test]
fn an_empty_file_gives_defaults_and_asks_for_what_is_required() {
    for yaml in ["", "# only a comment\n", "\n", "kafka:\n", "{}", "---\n"] {
        let (component, problems) = check(yaml, &[]);
        assert_eq!(
            problems,
            [
                "kafka.brokers: is required and missing; set it, for instance to `127.0.0.1:9092`, or set EDGE__KAFKA__BROKERS"
            ],
            "{yaml:?}"
        );
        assert_eq!(component.listen, address("0.0.0.0:1"));
        assert_eq!(component.brokers, ["127.0.0.1:9092"], "the example lets the reading go on");
        assert_eq!(component.data, None);
    }
}

#[test]
fn a_partial_file_keeps_the_other_defaults() {
    let (component, problems) = check("kafka: {brokers: [a:1, b:2], linger: null}", &[]);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(component.brokers, ["a:1", "b:2"]);
    assert_eq!(component.linger, Duration::from_millis(5));
}

#[test]
fn a_full_file_is_read_key_by_key() {
    let yaml = "
server:
  listen: 127.0.0.1:4317
kafka:
  brokers: [a:1]
  linger: 1m 30s
  buffer: 10MB
  retries: 7
  ratio: 1
  verify: false
  headers: {X-Scope-OrgID: demo, other: '1'}
  data: /var/lib/data
";
    let (component, problems) = check(yaml, &[("EDGE__KAFKA__PASSWORD", "hunter2")]);
    assert_eq!(problems, [] as [&str; 0]);
    let expected = Component {
        listen: address("127.0.0.1:4317"),
        brokers: vec!["a:1".to_owned()],
        linger: Duration::from_secs(90),
        buffer: ByteSize::bytes(10_000_000),
        retries: NonZeroU32::new(7).unwrap(),
        ratio: 1.0,
        verify: false,
        headers: [("X-Scope-OrgID", "demo"), ("other", "1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        data: Some(PathBuf::from("/var/lib/data")),
        password: Some(Secret::new("hunter2")),
    };
    assert_eq!(component, expected);
}

#[test]
fn the_environment_wins_over_the_file_and_reads_lists_and_maps() {
    let yaml = "kafka: {brokers: [a:1], linger: 1s, verify: true}";
    let env = [
        ("EDGE__KAFKA__BROKERS", "b:2, c:3"),
        ("EDGE__KAFKA__LINGER", "2s"),
        ("EDGE__KAFKA__VERIFY", "false"),
        ("EDGE__KAFKA__RETRIES", "9"),
        ("EDGE__KAFKA__HEADERS", "X-Scope-OrgID=demo, b=c=d"),
        ("EDGE__SERVER__LISTEN", "[::1]:5"),
        ("HUB__KAFKA__BROKERS", "of another program"),
        ("EDGEWISE", "not ours"),
    ];
    let (component, problems) = check(yaml, &env);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(component.brokers, ["b:2", "c:3"]);
    assert_eq!(component.linger, Duration::from_secs(2));
    assert!(!component.verify);
    assert_eq!(component.retries.get(), 9);
    assert_eq!(component.headers["X-Scope-OrgID"], "demo");
    assert_eq!(component.headers["b"], "c=d");
    assert_eq!(component.listen, address("[::1]:5"));
}

#[test]
fn a_value_of_the_wrong_kind_says_what_it_is_and_what_is_right() {
    check_kafka("linger: 5", &["kafka.linger: is the number `5`; give a duration such as `30s` or `1h 30m`"]);
    check_kafka(
        "linger: '5'",
        &["kafka.linger: `5` is not a duration with a unit; give a duration such as `30s` or `1h 30m`"],
    );
    check_kafka("buffer: 16", &["kafka.buffer: is the number `16`; give a size such as `16MiB`"]);
    check_kafka(
        "buffer: 16 mb b",
        &["kafka.buffer: `16 mb b` is not a size with a unit; give a size such as `16MiB`"],
    );
    check_kafka(
        "buffer: 99999999999GiB",
        &["kafka.buffer: `99999999999GiB` is out of range; give a size such as `16MiB`"],
    );
    check_kafka("verify: 'yes'", &["kafka.verify: is text; give `true` or `false`"]);
    check_kafka("ratio: '1.5'", &["kafka.ratio: is text; give a number"]);
    check_kafka("headers: [a]", &["kafka.headers: is a list; give a mapping of names, each to text"]);
    check_kafka(
        "headers: {a: 1}",
        &["kafka.headers: `a` is the number `1`; put it in quotes; give a mapping of names, each to text"],
    );
    check_kafka("data: ''", &["kafka.data: is empty; give a path"]);
}

#[test]
fn a_number_out_of_range_names_the_range() {
    for number in ["0", "-1", "4294967296", "1.5"] {
        let what = format!(
            "kafka.retries: `{number}` is not such a number, or out of range; give a whole number from 1 to 4294967295"
        );
        check_kafka(&format!("retries: {number}"), &[&what]);
    }
}

#[test]
fn a_list_names_its_wrong_item() {
    let (_, problems) = check("kafka: {brokers: [a, 7]}", &[]);
    assert_eq!(
        problems,
        ["kafka.brokers: item 2 is the number `7`; put it in quotes; give a list, each text"]
    );
    let (_, problems) = check("kafka: {brokers: 'a,b'}", &[]);
    assert_eq!(problems, ["kafka.brokers: is text; give a list, each text"]);
}

#[test]
fn a_section_that_is_no_mapping_is_refused() {
    let (_, problems) = check("server: 127.0.0.1:1\nkafka: {brokers: [a]}", &[]);
    assert_eq!(problems, ["server: is text, not a section; give a mapping of keys"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    check_kafka("lingr: 5s", &["kafka.lingr: unknown key; did you mean `linger`?"]);
    let (_, problems) = check("kafka: {brokers: [a]}\nzebra: {a: {b: 1}}", &[]);
    assert_eq!(problems, ["zebra: unknown key; known here: server, kafka"]);
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_name() {
    let brokers = ("EDGE__KAFKA__BROKERS", "a:1");
    let (_, problems) = check("", &[brokers, ("EDGE__KAFKA__LINGR", "5s")]);
    assert_eq!(
        problems,
        ["EDGE__KAFKA__LINGR: environment variable sets no known key; did you mean `EDGE__KAFKA__LINGER`?"]
    );
    let (_, problems) = check("", &[brokers, ("EDGE__X", "5s")]);
    let remedy = "remove it, or see the configuration reference for the names";
    assert_eq!(problems, [format!("EDGE__X: environment variable sets no known key; {remedy}")]);
}

#[test]
fn a_wrong_variable_is_named_beside_its_key() {
    let (component, problems) =
        check("kafka: {brokers: [a], linger: 1s}", &[("EDGE__KAFKA__LINGER", "soon")]);
    assert_eq!(
        problems,
        [
            "kafka.linger (from EDGE__KAFKA__LINGER): `soon` is not a duration with a unit; give a duration such as `30s` or `1h 30m`"
        ]
    );
    assert_eq!(
        component.linger,
        Duration::from_millis(5),
        "a refused value falls back to the default, not to the file"
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let (_, problems) =
        check("server: {listen: here}\nkafka: {linger: 1, buffer: 1B, retrys: 2}", &[("EDGE__A", "1")]);
    let paths: Vec<_> = problems.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(
        paths,
        ["server.listen", "kafka.linger", "kafka.buffer", "kafka.brokers", "kafka.retrys", "EDGE__A"]
    );
}

#[test]
fn a_secret_is_read_from_the_file_it_names() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "s3cret").unwrap();
    let (component, problems) =
        check(&format!("kafka: {{brokers: [a], password_file: {}}}", file.path().display()), &[]);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(component.password.unwrap().expose(), "s3cret");
}

#[test]
fn a_secret_in_the_configuration_file_is_refused_and_not_repeated() {
    let (component, problems) = check("kafka: {brokers: [a], password: hunter2}", &[]);
    let remedy = "give the path of a file in `password_file`, or set EDGE__KAFKA__PASSWORD";
    assert_eq!(problems, [format!("kafka.password: a secret stands in the configuration file; {remedy}")]);
    assert_eq!(component.password, None);
}

#[test]
fn a_secret_given_twice_or_from_an_unusable_file_is_refused() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let yaml = format!("kafka: {{brokers: [a], password_file: {}}}", empty.path().display());
    let (_, problems) = check(&yaml, &[("EDGE__KAFKA__PASSWORD", "x")]);
    assert_eq!(problems, ["kafka.password: is given twice, also by `password_file`; give one of the two"]);
    let (_, problems) = check(&yaml, &[]);
    let path = empty.path().display();
    assert_eq!(problems, [format!("kafka.password_file: `{path}` is empty; write the secret into the file")]);
    let (_, problems) = check("kafka: {brokers: [a], password_file: /no/such/file}", &[]);
    let what = "cannot read `/no/such/file`: No such file or directory (os error 2)";
    assert_eq!(problems, [format!("kafka.password_file: {what}; give the path of a readable text file")]);
}

#[test]
fn secrets_are_never_printed() {
    let (component, _) = check("kafka: {brokers: [a]}", &[("EDGE__KAFKA__PASSWORD", "hunter2")]);
    let secret = component.password.as_ref().unwrap();
    assert_eq!(secret.expose(), "hunter2");
    let printed = format!("{component:?} {component:#?} {secret}");
    assert!(!printed.contains("hunter2") && printed.contains("redacted"), "{printed}");
}

#[test]
fn a_broken_file_is_one_problem_that_repeats_no_line_of_it() {
    for yaml in ["a: [1\nhunter2: {", "a: 1\na: 2\n", "- a\n- b\n", "just text", "kafka: {password: hunter2"]
    {
        let (_, problems) = check(yaml, &[]);
        let [problem] = problems.as_slice() else { panic!("{yaml:?} gives {problems:?}") };
        assert!(problem.starts_with("configuration: "), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_with_its_path() {
    let mut settings = Settings::load("NO_SUCH_PREFIX", Some(Path::new("/no/such/config.yaml")));
    read(&mut settings.root());
    let text = settings.finish().unwrap_err().to_string();
    assert!(
        text.starts_with("/no/such/config.yaml: cannot read the configuration file: No such file"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

proptest! {
    #[test]
    fn no_text_makes_the_reading_panic(yaml in "\\PC*", value in "\\PC*") {
        check(&yaml, &[("EDGE__KAFKA__BUFFER", &value), ("EDGE__KAFKA__LINGER", &value), ("EDGE__KAFKA__HEADERS", &value)]);
        check(&format!("kafka: {{buffer: {value}}}"), &[]);
    }

    #[test]
    fn sizes_are_read_back_from_their_own_text(bytes in any::<u64>(), shift in 0u32..50) {
        for size in [ByteSize::bytes(bytes), ByteSize::bytes(bytes >> shift << shift)] {
            prop_assert_eq!(ByteSize::from_text(&size.to_text()), Ok(size));
        }
    }

    #[test]
    fn durations_are_read_back_from_their_own_text(nanos in any::<u64>()) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(Duration::from_text(&duration.to_text()), Ok(duration));
    }
}

#[test]
fn the_reference_lists_every_key_with_its_default_and_variable() {
    let service = crate::Service { name: "edge", env_prefix: "EDGE", version: "1" };
    let page = Reference::new("cargo xtask reference").program(&service, read).into_markdown();
    assert!(page.starts_with("<!-- generated by `cargo xtask reference`; do not edit -->\n"));
    for line in [
        "## edge",
        "### `server`",
        "| `listen` | an address and port such as `127.0.0.1:4317` | `0.0.0.0:1` | `EDGE__SERVER__LISTEN` | Where. |",
        "| `brokers` | a list, each text | required | `EDGE__KAFKA__BROKERS` | Which. |",
        "| `buffer` | a size such as `16MiB` | `16MiB` | `EDGE__KAFKA__BUFFER` | How much. |",
        "| `headers` | a mapping of names, each to text | empty | `EDGE__KAFKA__HEADERS` | What else. |",
        "| `data` | a path | unset | `EDGE__KAFKA__DATA` | Where to. |",
        "| `password` | text, only from the environment | unset | `EDGE__KAFKA__PASSWORD` | Who. |",
        "| `grace` | a duration such as `30s` or `1h 30m` | `25s` | `EDGE__SHUTDOWN__GRACE` | \
         Time to finish accepted work; past it the process leaves with 1 and names what was late. |",
    ] {
        assert!(page.lines().any(|it| it == line), "missing: {line}\nin:\n{page}");
    }
}
