//! What clients say of themselves, each kind of client kept once for a worker: thousands of connections are of a few
//! kinds, and an idle connection pays for a pointer.

use std::collections::HashSet;
use std::rc::Rc;

/// How many kinds are kept at a time. Of clients of further kinds nothing is kept.
const KINDS: usize = 1024;

/// What a client says of itself in its upgrade. Only shown, never believed; bounded by who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct About {
    /// The `Origin` of its page.
    pub origin: Option<String>,
    /// Its library and version: `js 8.4.0`.
    pub client: Option<String>,
}

/// All kinds that a worker's connections are of, and some that they were of.
#[derive(Default)]
pub(super) struct Abouts(HashSet<Rc<About>>);

impl Abouts {
    pub(super) fn intern(&mut self, about: About) -> Option<Rc<About>> {
        if about == About::default() {
            return None;
        }
        if let Some(known) = self.0.get(&about) {
            return Some(Rc::clone(known));
        }
        if self.0.len() >= KINDS {
            self.0.retain(|known| Rc::strong_count(known) > 1);
        }
        let fresh = (self.0.len() < KINDS).then(|| Rc::new(about))?;
        self.0.insert(Rc::clone(&fresh));
        Some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(number: usize) -> About {
        About {
            client: Some(number.to_string()),
            ..About::default()
        }
    }

    #[test]
    fn one_kind_is_kept_once_and_no_more_than_so_many() {
        let mut abouts = Abouts::default();
        assert!(abouts.intern(About::default()).is_none());
        let kept: Vec<_> = (0..KINDS).map(|n| abouts.intern(about(n))).collect();
        let again = abouts.intern(about(7)).unwrap();
        assert!(Rc::ptr_eq(&again, kept[7].as_ref().unwrap()));
        assert!(abouts.intern(about(KINDS)).is_none(), "there is no room");
        drop((kept, again));
        assert!(
            abouts.intern(about(KINDS)).is_some(),
            "nobody is of the others"
        );
        assert_eq!(abouts.0.len(), 1);
    }
}
