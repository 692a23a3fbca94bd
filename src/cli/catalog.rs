//! `tollgate catalog`: the catalogue of a database, written, compared with it, and turned into
//! row-level security.
//!
//! `derive` decides from what a database says of itself, `yaml` prints that as a policy file,
//! `compare` sets a configured catalogue against a database and says `finding`s, `rls` prints a
//! catalogue as SQL.

mod compare;
mod derive;
mod finding;
mod rls;
mod yaml;

use crate::config;
use crate::domain::secret::Secret;
use crate::stores::introspect::{Schema, introspect};

use super::arguments::{Catalog, CatalogCheck, Database, Introspect, Rls};
use super::{Done, Failure, environment, print};

pub(super) fn run(arguments: &Catalog) -> Result<Done, Failure> {
    match arguments {
        Catalog::Introspect(arguments) => written(arguments),
        Catalog::Check(arguments) => compared(arguments),
        Catalog::Rls(arguments) => secured(arguments),
    }
}

fn written(arguments: &Introspect) -> Result<Done, Failure> {
    if !derive::is_name(&arguments.tenant) {
        return Err(Failure::usage(format!(
            "`--tenant {:?}` is not a column that a policy can name",
            arguments.tenant
        )));
    }
    let schema = read(&arguments.database, &arguments.schema)?;
    for name in &arguments.global {
        if schema.relation(name).is_none() {
            return Err(Failure::usage(format!(
                "`--global {name}`: the schema `{}` has no table or view of that name",
                schema.name
            )));
        }
    }
    let derived = derive::derive(&schema, &arguments.tenant, &arguments.global);
    print(&yaml::text(&derived))?;
    Ok(Done::Well)
}

fn compared(arguments: &CatalogCheck) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let catalog = &loaded.snapshot.catalog;
    let schema = read(&arguments.database, &catalog.schema)?;
    let findings = compare::compare(catalog, &schema);
    let text = match arguments.json {
        true => finding::json_text(&findings),
        false => finding::text(&findings, catalog),
    };
    print(&text)?;
    let errors = findings.iter().any(finding::Finding::is_error);
    Ok(if errors { Done::FoundErrors } else { Done::Well })
}

fn secured(arguments: &Rls) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    print(&rls::text(&loaded.snapshot.catalog, &arguments.role))?;
    Ok(Done::Well)
}

fn read(database: &Database, schema: &str) -> Result<Schema, Failure> {
    let url = Secret::new(database.database_url.as_str());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(introspect(&url, schema)).map_err(anyhow::Error::from)?)
}
