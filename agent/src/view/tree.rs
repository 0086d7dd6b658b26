//! Processes as a tree. Whatever they say of their parents, each is in it once.

use std::collections::HashMap;

use super::snapshot::Process;

/// A process in the tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Branch<'a> {
    /// The process.
    pub(crate) process: &'a Process,
    /// How many are above it.
    pub(crate) depth: usize,
    /// Whether no other child of its parent follows.
    pub(crate) is_last: bool,
    /// The container of the process above; `None` if there is none above, or it is of the host.
    pub(crate) above: Option<&'a str>,
}

/// The tree of some processes, in the order of its lines: each parent before its children, the oldest first.
/// Those whose parents are not among them are roots.
pub(crate) fn tree<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Vec<Branch<'a>> {
    let mut processes: Vec<&Process> = processes.into_iter().collect();
    processes.sort_by_key(|process| (process.started, process.pid));
    let mut by_pid = HashMap::with_capacity(processes.len());
    for (index, process) in processes.iter().enumerate() {
        by_pid.entry(process.pid).or_insert(index);
    }
    let parent = |index: usize| {
        let parent = by_pid.get(&processes.get(index)?.parent?).copied();
        parent.filter(|&parent| parent != index)
    };
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); processes.len()];
    let mut roots = Vec::new();
    for index in 0..processes.len() {
        match parent(index).and_then(|parent| children.get_mut(parent)) {
            Some(siblings) => siblings.push(index),
            None => roots.push(index),
        }
    }
    let mut walk = Walk {
        branches: Vec::with_capacity(processes.len()),
        is_done: vec![false; processes.len()],
        children,
        processes,
    };
    walk.descend(&roots);
    // Who is its own ancestor is below no root.
    for index in 0..walk.processes.len() {
        walk.descend(&[index]);
    }
    walk.branches
}

/// A walk through the tree, without recursion: nobody knows how deep it is.
struct Walk<'a> {
    processes: Vec<&'a Process>,
    children: Vec<Vec<usize>>,
    is_done: Vec<bool>,
    branches: Vec<Branch<'a>>,
}

impl Walk<'_> {
    /// Adds these and all below them.
    fn descend(&mut self, roots: &[usize]) {
        let mut waiting = Vec::new();
        push(&mut waiting, roots, 0, None);
        while let Some((index, depth, is_last, above)) = waiting.pop() {
            let (Some(&process), Some(is_done)) =
                (self.processes.get(index), self.is_done.get_mut(index))
            else {
                continue;
            };
            if std::mem::replace(is_done, true) {
                continue;
            }
            self.branches.push(Branch { process, depth, is_last, above });
            let children = self.children.get(index).map(Vec::as_slice).unwrap_or_default();
            push(&mut waiting, children, depth + 1, process.container.as_deref());
        }
    }
}

/// The index of a process, how many are above it, whether it is the last one there, and the container above.
type Next<'a> = (usize, usize, bool, Option<&'a str>);

fn push<'a>(waiting: &mut Vec<Next<'a>>, indexes: &[usize], depth: usize, above: Option<&'a str>) {
    let last = indexes.len().saturating_sub(1);
    let all = indexes.iter().enumerate().rev();
    waiting.extend(all.map(|(place, &index)| (index, depth, place == last, above)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::process;
    use super::*;

    fn shape(processes: &[Process]) -> Vec<(u32, usize)> {
        tree(processes).iter().map(|branch| (branch.process.pid, branch.depth)).collect()
    }

    #[test]
    fn children_are_below_their_parents_the_oldest_first() {
        let processes =
            [(1, None, 0), (5, Some(1), 9), (7, Some(5), 10), (8, Some(1), 4), (9, Some(99), 3)]
                .map(|(pid, parent, started)| process(pid, parent, started));
        assert_eq!(shape(&processes), [(1, 0), (8, 1), (5, 1), (7, 2), (9, 0)]);
        let lasts: Vec<bool> = tree(&processes).iter().map(|branch| branch.is_last).collect();
        assert_eq!(lasts, [false, false, true, true, true]);
    }

    #[test]
    fn nobody_is_lost_in_a_circle() {
        let processes = [(1, Some(1)), (2, Some(3)), (3, Some(2)), (4, Some(3)), (4, Some(1))]
            .map(|(pid, parent)| process(pid, parent, 0));
        assert_eq!(shape(&processes), [(1, 0), (4, 1), (2, 0), (3, 1), (4, 2)]);
    }

    #[test]
    fn a_long_lineage_is_a_deep_tree() {
        let processes: Vec<_> =
            (1..=100_000).map(|pid| process(pid, Some(pid - 1), pid.into())).collect();
        let branches = tree(&processes);
        assert_eq!(branches.len(), 100_000);
        assert_eq!(branches.last().unwrap().depth, 99_999);
    }

    proptest! {
        #[test]
        fn everybody_is_in_it_once(parents in prop::collection::vec((0..30_u32, 0..30_u32, 0..5_i64), 0..40)) {
            let processes: Vec<_> =
                parents.iter().map(|&(pid, parent, started)| process(pid, Some(parent), started)).collect();
            let mut found: Vec<*const Process> =
                tree(&processes).iter().map(|branch| std::ptr::from_ref(branch.process)).collect();
            found.sort_unstable();
            let all: Vec<*const Process> = processes.iter().map(std::ptr::from_ref).collect();
            prop_assert_eq!(found, all);
        }
    }
}
