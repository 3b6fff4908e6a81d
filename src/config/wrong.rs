//! `Wrong`: what is wrong with a table, key by key, said by code that does not know where the table stands. Who does know
//! puts the way to it before (`within`, `each`).

use std::fmt::Display;

use super::error::{Problem, path};
use super::tree::Tree;

/// Everything that was found. The paths begin at the table.
#[derive(Debug)]
pub(super) struct Wrong(Vec<Problem>);

impl Wrong {
    /// The value of a key is wrong.
    pub(super) fn key(key: impl Display, text: impl Into<String>) -> Self {
        Self(vec![Problem::at(None, &path(&key.to_string()), text)])
    }

    /// The table as a whole is wrong.
    pub(super) fn table(text: impl Into<String>) -> Self {
        Self(vec![Problem::whole(text)])
    }

    /// What is wrong with the whole configuration, with the places.
    pub(super) fn problems(self, tree: &Tree) -> Vec<Problem> {
        let Self(mut problems) = self;
        for problem in &mut problems {
            problem.origin = tree.origin(&problem.path);
        }
        problems
    }
}

/// Says of what was made of the value of a key why it could not be. In a list, an element's own key is empty.
pub(super) fn at<T: Into<String>>(key: impl Display) -> impl FnOnce(T) -> Wrong {
    move |text| Wrong::key(key, text)
}

/// Puts the way to a table before what is wrong with it.
pub(super) fn within(table: impl Display) -> impl FnOnce(Wrong) -> Wrong {
    move |Wrong(mut problems)| {
        let way = path(&table.to_string());
        for problem in &mut problems {
            problem.path.splice(..0, way.iter().cloned());
        }
        Wrong(problems)
    }
}

/// Both, or all that is wrong with either.
pub(super) fn both<A, B>(a: Result<A, Wrong>, b: Result<B, Wrong>) -> Result<(A, B), Wrong> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Wrong(mut all)), Err(Wrong(more))) => {
            all.extend(more);
            Err(Wrong(all))
        }
        (Err(wrong), _) | (_, Err(wrong)) => Err(wrong),
    }
}

/// What is made of each element of a list, or all that is wrong with any.
pub(super) fn each<'a, E, T>(
    key: &str,
    list: &'a [E],
    mut make: impl FnMut(&'a E) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (index, element) in list.iter().enumerate() {
        match make(element).map_err(within(format!("{key}.{index}"))) {
            Ok(made) => all.push(made),
            Err(Wrong(found)) => wrong.extend(found),
        }
    }
    match wrong.is_empty() {
        true => Ok(all),
        false => Err(Wrong(wrong)),
    }
}

/// What must hold for the value of a key, or what is said where it does not.
pub(super) fn ensure<T: Into<String>>(
    holds: bool,
    key: &str,
    text: impl FnOnce() -> T,
) -> Result<(), Wrong> {
    match holds {
        true => Ok(()),
        false => Err(Wrong::key(key, text())),
    }
}

/// A key that must be given.
pub(super) fn required<'a, T>(given: &'a Option<T>, key: &str, text: &str) -> Result<&'a T, Wrong> {
    given.as_ref().ok_or_else(|| Wrong::key(key, text))
}
