//! `zhujiao pull`: fetches a model's files.

use zhujiao::config::Settings;
use zhujiao::model_store::pull_with_progress_bars;

use super::CliError;
use super::parts::model_store;

pub async fn run(names: Vec<String>, settings: &Settings) -> Result<(), CliError> {
    let store = model_store(&settings.models)?;
    for name in names {
        let files = match store.locate(&name).await {
            Some(files) => files,
            None => pull_with_progress_bars(&store, &name).await?,
        };
        for file in files {
            println!("{}", file.display());
        }
    }
    Ok(())
}
