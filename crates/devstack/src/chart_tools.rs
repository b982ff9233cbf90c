//! What charts are rendered and judged with: Helm, kubeconform, and what the Kubernetes API says of its objects.

use std::path::PathBuf;
use std::process::Command;

use crate::go::{self, Module};
use crate::{Cache, Error, Progress, Result, checksum};

const HELM: Module = Module {
    name: "helm",
    version: "4.3.1",
    go_mod: include_str!("../helm/go.mod"),
    go_sum: include_str!("../helm/go.sum"),
    main_go: "",
    programs: &[("helm.sh/helm/v4/cmd/helm", "helm")],
    tags: "",
    takes: "about 3 minutes of two cores",
};

const KUBECONFORM: Module = Module {
    name: "kubeconform",
    version: "0.8.0",
    go_mod: include_str!("../kubeconform/go.mod"),
    go_sum: include_str!("../kubeconform/go.sum"),
    main_go: "",
    programs: &[("github.com/yannh/kubeconform/cmd/kubeconform", "kubeconform")],
    tags: "",
    takes: "a few seconds",
};

/// The module that has the API's description, pinned by the sums of the Kubernetes API that tests start.
const KUBERNETES: &str = "k8s.io/kubernetes@v1.36.3";

/// Paths of the tools, all in the cache.
#[derive(Debug, Clone)]
pub struct ChartTools {
    /// Helm.
    pub helm: PathBuf,
    /// kubeconform, which validates manifests by JSON schemas.
    pub kubeconform: PathBuf,
    /// The API's description (OpenAPI 2, JSON), of which those schemas are made.
    pub openapi: PathBuf,
}

impl ChartTools {
    /// Builds and fetches what is not in the cache. Blocks.
    ///
    /// # Errors
    /// Go is missing, or a module cannot be had.
    pub fn fetch(cache: &Cache, progress: &Progress) -> Result<Self> {
        let openapi = openapi(cache, progress)?;
        let kubeconform = KUBECONFORM.fetch(cache, progress)?.join("kubeconform");
        let helm = HELM.fetch(cache, progress)?.join("helm");
        Ok(Self { helm, kubeconform, openapi })
    }
}

fn openapi(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let task = progress.task("kubernetes' description of its API");
    let sums = include_str!("../kubernetes/go.sum");
    let key =
        format!("kubernetes-openapi-{}", checksum::fingerprint(&[KUBERNETES.as_bytes(), sums.as_bytes()]));
    let folder = cache.entry(&key, &task, |draft| {
        task.say("fetching its module");
        std::fs::write(draft.join("go.mod"), include_str!("../kubernetes/go.mod"))
            .and_then(|()| std::fs::write(draft.join("go.sum"), sums))
            .map_err(Error::io("write the module of the Kubernetes API"))?;
        let mut fetch = Command::new(go::toolchain(cache, &task)?);
        fetch.args(["mod", "download", "-json", KUBERNETES]).env("GOFLAGS", "").env("GOWORK", "off");
        let module = go::downloaded("fetch the description of the API by go", fetch.current_dir(draft))?;
        std::fs::copy(module.dir.join("api/openapi-spec/swagger.json"), draft.join("swagger.json"))
            .map_err(Error::io("copy the API's description"))?;
        Ok(())
    });
    task.done(if folder.is_ok() { "there" } else { "failed" });
    Ok(folder?.join("swagger.json"))
}
