//! stub
#[derive(Debug, Default)]
pub(super) struct Filter;
impl Filter {
    pub(super) fn verdict(&self, _: u8, _: &[u8]) -> Option<&str> {
        None
    }
}
