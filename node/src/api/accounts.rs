//! How many connections each caller has: one that leaks them leaves room for the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::Principal;
use crate::gateway::ApiError;

/// Callers of one connection at most: a proxy may carry several.
const CALLERS_MAX: usize = 64;

/// The connections of all callers of a listener.
#[derive(Debug)]
pub struct Accounts {
    most: usize,
    open: Mutex<BTreeMap<Principal, usize>>,
}

impl Accounts {
    /// So many connections for each caller.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// One more connection of a caller, for as long as what is returned lives.
    fn open(self: &Arc<Self>, principal: &Principal) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(principal.clone()).or_default();
        // An entry is never 0: it has places already, or its first one fits.
        if *count >= self.most.max(1) {
            return None;
        }
        *count += 1;
        Some(Place {
            accounts: Arc::clone(self),
            principal: principal.clone(),
        })
    }
}

/// A connection of a caller.
#[derive(Debug)]
struct Place {
    accounts: Arc<Accounts>,
    principal: Principal,
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = &self.accounts.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

/// Who has called by one connection.
#[derive(Debug, Default)]
pub struct Callers(Mutex<Vec<Place>>);

impl Callers {
    /// Lets a caller use this connection, which counts among its own until it is closed.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when it has as many as it may.
    pub fn admit(&self, accounts: &Arc<Accounts>, principal: &Principal) -> Result<(), ApiError> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.iter().any(|place| place.principal == *principal) {
            return Ok(());
        }
        if callers.len() >= CALLERS_MAX {
            return Err(ApiError::exhausted(format!(
                "{CALLERS_MAX} callers use this connection: open another one for {principal}"
            )));
        }
        let place = accounts.open(principal).ok_or_else(|| {
            ApiError::exhausted(format!(
                "{principal} has {} connections to this node, as many as it may \
                 (--client-max-connections-per-account): share connections, or connect to another \
                 node",
                accounts.most
            ))
        })?;
        callers.push(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Principal {
        Principal::ServiceAccount {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_caller_has_so_many_connections_and_leaves_room_for_others() {
        let accounts = Accounts::new(2);
        let connections: Vec<_> = (0..3).map(|_| Callers::default()).collect();
        let one = account("one");
        for connection in &connections[..2] {
            connection.admit(&accounts, &one).unwrap();
            // Its next call by the same connection.
            connection.admit(&accounts, &one).unwrap();
        }
        let error = connections[2].admit(&accounts, &one).unwrap_err();
        assert_eq!(error.code, tonic::Code::ResourceExhausted);
        let said = "serviceaccount shop/one has 2 connections";
        assert!(error.message.starts_with(said), "{}", error.message);
        connections[2].admit(&accounts, &account("other")).unwrap();
        drop(connections.into_iter().next());
        let new = Callers::default();
        new.admit(&accounts, &one).unwrap();
        drop(new);
        assert!(accounts.open.lock().unwrap().len() <= 2);
    }

    #[test]
    fn what_is_closed_is_forgotten() {
        let accounts = Accounts::new(1);
        for number in 0..10 {
            let connection = Callers::default();
            let name = number.to_string();
            connection.admit(&accounts, &account(&name)).unwrap();
        }
        assert!(accounts.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_connection_has_a_bounded_number_of_callers() {
        let accounts = Accounts::new(10);
        let connection = Callers::default();
        for number in 0..CALLERS_MAX {
            let name = number.to_string();
            connection.admit(&accounts, &account(&name)).unwrap();
        }
        let error = connection.admit(&accounts, &account("new")).unwrap_err();
        assert!(error.message.contains("64 callers"), "{}", error.message);
        connection.admit(&accounts, &account("0")).unwrap();
    }
}
