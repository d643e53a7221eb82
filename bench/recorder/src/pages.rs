//! The page runs that are live, by the numbers of their pages.
//!
//! The page allocator may take a run back in pieces (a run that was split, a huge page that was broken up), so a free
//! names any page in the middle of a run, or several runs at once.
//!
//! Invariant: runs do not overlap, and each has at least one page that was not freed.
//!
//! Called by: [`crate::ledger`].

use std::collections::BTreeMap;

/// Live runs, each with an entry of the caller's.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    runs: BTreeMap<u64, Run<T>>,
}

#[derive(Debug)]
struct Run<T> {
    nr_pages: u64,
    nr_left: u64,
    nr_pieces: u32,
    entry: T,
}

/// What a free came to for one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<T> {
    /// Other pages of it are live.
    Part,
    /// The run is gone, after so many pieces.
    Last { entry: T, nr_pieces: u32 },
}

impl<T> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages { runs: BTreeMap::new() }
    }
}

impl<T: Copy> Pages<T> {
    /// Where runs begin that have a page among these.
    fn overlapping(&self, first: u64, nr_pages: u64) -> Vec<u64> {
        let end = first.saturating_add(nr_pages);
        let before = self.runs.range(..first).next_back().filter(|(start, run)| *start + run.nr_pages > first);
        before.into_iter().chain(self.runs.range(first..end)).map(|(start, _)| *start).collect()
    }

    /// What stands for the run with this page.
    pub(crate) fn get(&self, page: u64) -> Option<T> {
        let (start, run) = self.runs.range(..=page).next_back()?;
        (page - start < run.nr_pages).then_some(run.entry)
    }

    /// Removes all runs that have a page among these, and returns what they stood for.
    pub(crate) fn take_overlapping(&mut self, first: u64, nr_pages: u64) -> Vec<T> {
        let starts = self.overlapping(first, nr_pages);
        starts.iter().filter_map(|start| self.runs.remove(start)).map(|run| run.entry).collect()
    }

    /// Adds a run. Nothing may be live among its pages.
    pub(crate) fn insert(&mut self, first: u64, nr_pages: u64, entry: T) {
        self.runs.insert(first, Run { nr_pages, nr_left: nr_pages, nr_pieces: 0, entry });
    }

    /// Frees these pages: what that means for each run that has some of them. Which pages of a run are left is not
    /// kept, only how many: nobody frees a page twice.
    pub(crate) fn free(&mut self, first: u64, nr_pages: u64) -> Vec<Piece<T>> {
        let end = first.saturating_add(nr_pages);
        let mut pieces = Vec::new();
        for start in self.overlapping(first, nr_pages) {
            let Some(run) = self.runs.get_mut(&start) else { continue };
            let nr_freed = end.min(start + run.nr_pages) - first.max(start);
            run.nr_left = run.nr_left.saturating_sub(nr_freed);
            run.nr_pieces += 1;
            let (entry, nr_pieces) = (run.entry, run.nr_pieces);
            pieces.push(if run.nr_left == 0 {
                self.runs.remove(&start);
                Piece::Last { entry, nr_pieces }
            } else {
                Piece::Part
            });
        }
        pieces
    }

    /// What is live.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = T> {
        self.runs.into_values().map(|run| run.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lives_until_its_last_piece() {
        let mut pages = Pages::default();
        pages.insert(8, 4, 'a');
        assert_eq!(pages.free(9, 1), [Piece::Part]);
        assert_eq!(pages.free(10, 2), [Piece::Part]);
        assert_eq!(pages.free(12, 1), []);
        assert_eq!(pages.free(8, 1), [Piece::Last { entry: 'a', nr_pieces: 3 }]);
        assert_eq!(pages.free(8, 1), []);
    }

    #[test]
    fn a_page_belongs_to_the_run_around_it() {
        let mut pages = Pages::default();
        pages.insert(8, 4, 'a');
        assert_eq!([7, 8, 11, 12].map(|page| pages.get(page)), [None, Some('a'), Some('a'), None]);
    }

    #[test]
    fn one_free_may_end_several_runs() {
        let mut pages = Pages::default();
        pages.insert(4, 2, 'a');
        pages.insert(6, 1, 'b');
        pages.insert(7, 4, 'c');
        let wanted = [Piece::Last { entry: 'a', nr_pieces: 1 }, Piece::Last { entry: 'b', nr_pieces: 1 }, Piece::Part];
        assert_eq!(pages.free(4, 4), wanted);
        assert_eq!(pages.into_entries().collect::<Vec<_>>(), ['c']);
    }

    #[test]
    fn whatever_overlaps_is_found() {
        let mut pages = Pages::default();
        pages.insert(0, 8, 'a');
        pages.insert(16, 1, 'b');
        pages.insert(17, 1, 'c');
        assert_eq!(pages.take_overlapping(8, 8), []);
        assert_eq!(pages.take_overlapping(7, 10), ['a', 'b']);
        assert_eq!(pages.take_overlapping(0, u64::MAX), ['c']);
    }
}
