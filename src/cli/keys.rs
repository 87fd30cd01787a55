//! `zhujiao keys`: works on the database, beside a running server too.

use clap::Subcommand;
use jiff::Timestamp;
use uuid::Uuid;
use zhujiao::config::Settings;
use zhujiao::domain::Role;
use zhujiao::store::keys::{ApiKey, KeyStore, NewKey, role_from_id, role_id};

use super::{CliError, open_database};

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it. It is shown this once.
    Create {
        /// administrator, teacher, student, counsellor, guardian or integrator
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// Tells keys apart.
        #[arg(long)]
        name: String,
        /// The school whose data the key may see.
        #[arg(long)]
        school: Option<String>,
    },
    /// List the keys: id, role, school, name, when made, whether revoked. Tab-separated.
    List,
    /// Revoke a key and end its sessions.
    Revoke { id: Uuid },
}

pub async fn run(command: KeysCommand, settings: &Settings) -> Result<(), CliError> {
    let database = open_database(settings).await?;
    let store = KeyStore::new(database.clone());
    let done = match command {
        KeysCommand::Create { role, name, school } => {
            let (key, secret) = store.create(NewKey { role, school, name }, Timestamp::now()).await?;
            eprintln!("key {}, shown this once:", key.id);
            println!("{}", secret.expose());
            Ok(())
        }
        KeysCommand::List => {
            for key in store.list().await? {
                println!("{}", line(&key));
            }
            Ok(())
        }
        KeysCommand::Revoke { id } => match store.revoke(id, Timestamp::now()).await? {
            true => Ok(()),
            false => Err(CliError::NotFound(format!("there is no key {id} in use"))),
        },
    };
    database.close().await;
    done
}

fn line(key: &ApiKey) -> String {
    let ApiKey { id, role, school, name, created_at, revoked_at } = key;
    let state = revoked_at.map_or_else(|| "in use".to_owned(), |at| format!("revoked {at:.0}"));
    format!("{id}\t{}\t{}\t{name}\t{created_at:.0}\t{state}", role_id(*role), school.as_deref().unwrap_or("-"))
}

fn parse_role(text: &str) -> Result<Role, String> {
    role_from_id(text)
        .ok_or_else(|| "expected administrator, teacher, student, counsellor, guardian or integrator".to_owned())
}
