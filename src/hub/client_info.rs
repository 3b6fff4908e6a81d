//! The origin and library of a connection's client. A worker keeps each distinct value once: thousands of connections
//! share a few values, and an idle connection pays for a pointer.

use std::collections::HashSet;
use std::rc::Rc;

/// How many distinct values a worker keeps. Further ones are not kept.
const KINDS: usize = 1024;

/// What a client's upgrade says about the client. It is shown, never trusted. The maker bounds its length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientInfo {
    /// The `Origin` of its page.
    pub origin: Option<String>,
    /// Its library and version: `js 8.4.0`.
    pub client: Option<String>,
}

/// The values of a worker's connections, and some of former ones.
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
