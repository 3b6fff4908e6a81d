//! A settings file: what is accepted can be printed, and what is printed is accepted and means the same. A refusal says
//! where the problem is.

use std::cell::OnceCell;
use std::path::PathBuf;

use tidewire::config::{Error, Loaded, Sources, load};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match read(text) {
        Ok(loaded) => {
            let printed = with_secrets(&loaded.to_toml().unwrap());
            let again = read(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(with_secrets(&again.to_toml().unwrap()), printed);
            assert_eq!(again.settings.apps.len(), loaded.settings.apps.len());
            for app in loaded.settings.apps.iter() {
                // What docs/configuration.md says.
                let limits = &app.limits;
                assert!((1..=16_777_216).contains(&limits.event_bytes));
                assert!((1..=1_048_576).contains(&limits.presence_member_bytes));
                assert!((1..=1_000_000).contains(&limits.presence_members));
                assert!((1..=10_000).contains(&limits.channels_per_event));
                assert!((1..=1024).contains(&limits.channel_name_length));
            }
        }
        Err(Error::Problems(problems)) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.to_string().is_empty());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn read(text: &str) -> Result<Loaded, Error> {
    thread_local! {
        static FILE: OnceCell<PathBuf> = const { OnceCell::new() };
    }
    FILE.with(|file| {
        let file = file.get_or_init(|| {
            let name = format!(
                "tidewire-fuzz-{}-{:?}",
                std::process::id(),
                std::thread::current().id()
            );
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder.join("apps.toml")
        });
        std::fs::write(file, text).unwrap();
        load(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        })
    })
}

/// Puts a secret of its own in each place where one was hidden.
fn with_secrets(printed: &str) -> String {
    let mut parts = printed.split("\"***\"");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        text.push_str(&format!("\"{at:032x}{at:032x}\""));
        text.push_str(part);
    }
    text
}
