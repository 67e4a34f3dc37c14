//! What each `sslmode` checks, against a server that speaks TLS. That nobody gets in without, with
//! another authority or by another name is the suite's K05.

use std::sync::Arc;

use scaleout_conformance::{
    Broker, Target, UrlTarget,
    broker::{Postgres, Server},
};
use scaleout_core::{Backend, ErrorKind, Result};

use crate::support::backend;

#[tokio::test]
async fn each_sslmode_checks_what_it_says() {
    let target = |url: String| {
        Arc::new(UrlTarget::new(url, scaleout_postgres::connector)) as Arc<dyn Target>
    };
    let postgres = Postgres::new(target).with_tls().unwrap();
    let server = Server::start(postgres).await.unwrap();
    let right = server.target().url();
    let wrong = server.tls().unwrap();
    let wrong_name = wrong.other_name.url();
    let wrong_authority = wrong.other_authority.url();
    let base = right.split('?').next().unwrap();

    // Private, with whoever it is.
    for mode in ["prefer", "require"] {
        probe(&format!("{base}?sslmode={mode}")).await.unwrap();
    }
    // An authority is named, so it is looked at; the name is not.
    for mode in ["require", "verify-ca"] {
        let with = |url: &str| url.replace("verify-full", mode);
        probe(&with(&right)).await.unwrap();
        probe(&with(&wrong_name)).await.unwrap();
        refused(&with(&wrong_authority)).await;
    }
    probe(&right).await.unwrap();
    refused(&wrong_name).await;
    refused(&wrong_authority).await;
    // None of the authorities that browsers trust has signed it.
    refused(&format!("{base}?sslmode=verify-full")).await;
    refused(&format!("{base}?sslmode=disable")).await;
}

async fn refused(url: &str) {
    let error = probe(url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
}

async fn probe(url: &str) -> Result<()> {
    backend(url).probe().await
}
