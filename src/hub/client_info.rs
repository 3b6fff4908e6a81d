//! What clients say of themselves, each kind of client kept once for a worker: thousands of connections are of a few
//! kinds, and an idle connection pays for a pointer.

use std::collections::HashSet;
use std::rc::Rc;

/// How many kinds are kept at a time. Of clients of further kinds nothing is kept.
const KINDS: usize = 1024;

/// What a client says of itself in its upgrade. Only shown, never believed; bounded by who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientInfo {
    /// The `Origin` of its page.
    pub origin: Option<String>,
    /// Its library and version: `js 8.4.0`.
    pub client: Option<String>,
}

/// All kinds that a worker's connections are of, and some that they were of.
#[derive(Default)]
pub(super) struct ClientInfoInterner(HashSet<Rc<ClientInfo>>);

impl ClientInfoInterner {
    pub(super) fn intern(&mut self, client_info: ClientInfo) -> Option<Rc<ClientInfo>> {
        if client_info == ClientInfo::default() {
            return None;
        }
        if let Some(known) = self.0.get(&client_info) {
            return Some(Rc::clone(known));
        }
        if self.0.len() >= KINDS {
            self.0.retain(|known| Rc::strong_count(known) > 1);
        }
        let fresh = (self.0.len() < KINDS).then(|| Rc::new(client_info))?;
        self.0.insert(Rc::clone(&fresh));
        Some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_info(number: usize) -> ClientInfo {
        ClientInfo {
            client: Some(number.to_string()),
            ..ClientInfo::default()
        }
    }

    #[test]
    fn one_kind_is_kept_once_and_no_more_than_so_many() {
        let mut client_infos = ClientInfoInterner::default();
        assert!(client_infos.intern(ClientInfo::default()).is_none());
        let kept: Vec<_> = (0..KINDS)
            .map(|n| client_infos.intern(client_info(n)))
            .collect();
        let again = client_infos.intern(client_info(7)).unwrap();
        assert!(Rc::ptr_eq(&again, kept[7].as_ref().unwrap()));
        assert!(
            client_infos.intern(client_info(KINDS)).is_none(),
            "there is no room"
        );
        drop((kept, again));
        assert!(
            client_infos.intern(client_info(KINDS)).is_some(),
            "nobody is of the others"
        );
        assert_eq!(client_infos.0.len(), 1);
    }
}
