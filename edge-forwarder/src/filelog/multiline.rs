//! stub
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Begins,
    Continues,
}
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct JoinState;
#[derive(Debug, Clone, Default)]
pub(super) struct Joining;
impl Joining {
    pub(super) fn follows(&self, _: &mut JoinState, line: &[u8]) -> Follows {
        if line.starts_with(b"\t") { Follows::Continues } else { Follows::Begins }
    }
    pub(super) fn can_begin(&self, line: &[u8]) -> bool {
        !line.starts_with(b"{")
    }
}
