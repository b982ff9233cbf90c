//! A container, as the path of its log names it: `<pods>/<namespace>_<pod>_<uid>/<container>/<restarts>.log`.

use std::path::Path;

/// Whose log a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Container<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: &'a str,
    pub(super) name: &'a str,
    pub(super) restarts: u32,
}

impl<'a> Container<'a> {
    /// `None` for a path of another form.
    pub(super) fn of_path(path: &'a Path) -> Option<Container<'a>> {
        let restarts = path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()?;
        let name = path.parent()?.file_name()?.to_str()?;
        let mut directory = path.parent()?.parent()?.file_name()?.to_str()?.split('_');
        let (namespace, pod, uid) = (directory.next()?, directory.next()?, directory.next()?);
        let is_whole = directory.next().is_none() && ![namespace, pod, uid].contains(&"");
        is_whole.then_some(Container { namespace, pod, uid, name, restarts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_log_names_its_container() {
        let path = Path::new("/var/log/pods/production_menu-7d4b9c-x2x_0c1d/app/3.log");
        let expected = Container {
            namespace: "production",
            pod: "menu-7d4b9c-x2x",
            uid: "0c1d",
            name: "app",
            restarts: 3,
        };
        assert_eq!(Container::of_path(path), Some(expected));
    }

    #[test]
    fn any_other_path_names_none() {
        for path in [
            "/var/log/app.log",
            "/var/log/pods/a_b/app/0.log",
            "/a_b_c_d/app/0.log",
            "/a_b_c/app/x.log",
            "/a__c/app/0.log",
            "/",
        ] {
            assert_eq!(Container::of_path(Path::new(path)), None, "{path}");
        }
    }
}
