//! `vault-engine admin tenant`

use std::process::ExitCode;

use super::{Asking, short};
use crate::cli::client::explain;
use crate::cli::status::date;
use crate::cli::{Failure, output};
use crate::pb::vault_v1::{CreateTenantRequest, ListTenantsRequest, Tenant, UpdateTenantRequest};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Make a tenant
    Create {
        #[command(flatten)]
        asking: Asking,
        /// Its id
        id: String,
        /// Its name for people
        #[arg(long, default_value = "")]
        name: String,
    },
    /// List the tenants there are
    List {
        #[command(flatten)]
        asking: Asking,
    },
    /// Switch a tenant off: every call about it is refused until it is enabled
    Disable {
        #[command(flatten)]
        asking: Asking,
        /// Its id
        id: String,
    },
    /// Switch a tenant on again
    Enable {
        #[command(flatten)]
        asking: Asking,
        /// Its id
        id: String,
    },
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create { asking, id, name } => {
            let mut client = asking.client.connect().await?;
            let request = client.request(CreateTenantRequest { tenant_id: id, display_name: name });
            let tenant = client.admin.create_tenant(request).await.map_err(|status| explain(&status))?;
            show(&[tenant.into_inner()], asking.json)
        }
        Command::List { asking } => list(&asking).await,
        Command::Disable { asking, id } => switch(&asking, id, true).await,
        Command::Enable { asking, id } => switch(&asking, id, false).await,
    }
}

async fn list(asking: &Asking) -> Result<ExitCode, Failure> {
    let mut client = asking.client.connect().await?;
    let (mut tenants, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = client.request(ListTenantsRequest { page_size: 1_000, page_token });
        let page = client.admin.list_tenants(request).await.map_err(|status| explain(&status))?.into_inner();
        tenants.extend(page.tenants);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return show(&tenants, asking.json);
        }
    }
}

async fn switch(asking: &Asking, id: String, disabled: bool) -> Result<ExitCode, Failure> {
    let mut client = asking.client.connect().await?;
    let tenant = Tenant { name: format!("tenants/{id}"), disabled, ..Tenant::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["disabled".to_owned()] });
    let request = client.request(UpdateTenantRequest { tenant: Some(tenant), update_mask });
    let tenant = client.admin.update_tenant(request).await.map_err(|status| explain(&status))?;
    show(&[tenant.into_inner()], asking.json)
}

fn show(tenants: &[Tenant], json: bool) -> Result<ExitCode, Failure> {
    if json {
        for tenant in tenants {
            output::say(serde_json::to_string(tenant)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = tenants
        .iter()
        .map(|tenant| {
            let state = if tenant.disabled { "disabled" } else { "enabled" };
            vec![short(&tenant.name), state.to_owned(), date(tenant.created_at), tenant.display_name.clone()]
        })
        .collect();
    output::table(&["TENANT", "STATE", "CREATED", "NAME"], &rows);
    Ok(ExitCode::SUCCESS)
}
