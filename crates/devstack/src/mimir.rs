//! Mimir: one process with every module, its blocks in local folders.
//!
//! Its ruler reads `rules/TENANT/*` in the server's folder again every two seconds, and evaluates groups that state no interval
//! every ten. Its Alertmanager pages one webhook, for every tenant.

mod package;

use std::io::Write as _;
use std::path::Path;

pub(crate) use package::Package;

use crate::process::Mode;
use crate::question::Question;
use crate::server::Launch;
use crate::{Error, Result, ports};

/// The folder of rule files in the folder of a server.
const RULES: &str = "rules";

/// A server's files and addresses, ready to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) launch: Launch,
    pub(crate) question: Question,
    pub(crate) url: String,
}

/// Lays out a server in `folder` on new ports, whose Alertmanager posts to the URL `webhook`. Data that is there is kept.
pub(crate) fn setup(package: &Package, folder: &Path, webhook: Option<&str>) -> Result<Setup> {
    for name in ["data", RULES] {
        create(&folder.join(name))?;
    }
    let (http, grpc) = (ports::free(), ports::free());
    let config = folder.join("mimir.yaml");
    let text = include_str!("../mimir/mimir.yaml")
        .replace("@FOLDER@", &folder.to_string_lossy())
        .replace("@HTTP_PORT@", &http.to_string())
        .replace("@GRPC_PORT@", &grpc.to_string());
    write(&config, &text)?;
    // JSON is YAML. Without a webhook the receiver has nobody to tell.
    let webhooks = webhook.map_or(serde_json::json!([]), |url| serde_json::json!([{ "url": url }]));
    let text = include_str!("../mimir/alertmanager.yaml").replace("@WEBHOOKS@", &webhooks.to_string());
    write(&folder.join("alertmanager.yaml"), &text)?;

    let url = format!("http://127.0.0.1:{http}");
    let mut argument = std::ffi::OsString::from("-config.file=");
    argument.push(&config);
    Ok(Setup {
        launch: Launch {
            mode: Mode::Exec,
            command: vec![package.program().into(), argument],
            log: folder.join("mimir.log"),
        },
        question: Question::Mimir { url: url.clone() },
        url,
    })
}

/// Puts a file of rules for a tenant into the folder of a server, in place of one of the same name.
pub(crate) fn put_rules(folder: &Path, tenant: &str, name: &str, yaml: &str) -> Result<()> {
    let place = folder.join(RULES).join(tenant);
    create(&place)?;
    // The ruler reads whatever lies there, so a file must come whole.
    let file = place.join(name);
    let what = || format!("write {}", file.display());
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(what()))?;
    draft.write_all(yaml.as_bytes()).map_err(Error::io(what()))?;
    draft.persist(&file).map_err(|error| error.error).map_err(Error::io(what()))?;
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(Error::io(format!("write {}", file.display())))
}
