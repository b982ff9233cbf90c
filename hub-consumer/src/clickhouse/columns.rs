//! Which columns a block has, and which of them a table knows.

use super::block::Type;

/// One column that an encoder can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in the table; for a member of a nested structure `Parent.Member`.
    pub name: &'static str,
    /// The type it is sent as.
    pub kind: Type,
    /// Whether a table without it can be used.
    pub need: Need,
}

/// Whether a table without a column can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No: without the column, data or the promise to store it once would be lost.
    Required,
    /// Yes: tables of older Collectors do not have it, and their readers do not miss it.
    Optional,
}

/// A choice of columns out of an encoder's list, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnSet(u64);

impl ColumnSet {
    /// Every column of the list.
    pub fn all(columns: &[Column]) -> ColumnSet {
        ColumnSet::choose(columns, |_| true)
    }

    /// The columns that `chosen` says yes to.
    pub fn choose(columns: &[Column], chosen: impl Fn(&Column) -> bool) -> ColumnSet {
        assert!(columns.len() <= u64::BITS as usize, "more columns than the set has bits");
        let bits = columns.iter().enumerate().filter(|(_, column)| chosen(column));
        ColumnSet(bits.fold(0, |set, (index, _)| set | 1 << index))
    }

    /// Whether the column at this position is chosen.
    pub fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// How many columns are chosen.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether none is chosen.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The chosen columns of the list, in its order.
    pub fn of(self, columns: &[Column]) -> impl Iterator<Item = &Column> {
        columns.iter().enumerate().filter(move |(index, _)| self.contains(*index)).map(|(_, column)| column)
    }
}
