//! `brainyd pre-stop` and the node that it asks.

use std::path::Path;

use brainy_coordination::assignment::MemberState::{Active, Draining};
use brainy_dataplane::cli::{Invocation, PreStop};
use brainy_dataplane::pre_stop::{Finish, run};
use brainy_dataplane::service::DataService;

use crate::support::{Certificates, Cluster, KEY, WITHIN};

fn pre_stop(args: &[&str]) -> PreStop {
    let args = ["brainyd", "pre-stop"].iter().chain(args);
    match Invocation::try_from_args(args).unwrap() {
        Invocation::PreStop(args) => args,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_while_the_node_is_drained_and_the_node_is_empty_then() {
    let cluster = Cluster::new();
    let (a, b) = (
        cluster.start("a", None).await,
        cluster.start("b", None).await,
    );
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.create().await;
    cluster.settle(&[(&a, Active), (&b, Active)]).await;
    a.write(0..20).await;
    let url = format!("http://{}", a.address);
    let args = pre_stop(&["--url", &url, "--api-key", KEY, "--timeout", "50s"]);
    let waiting = tokio::spawn(async move { run(&args).await.unwrap() });
    cluster.settle(&[(&a, Draining), (&b, Active)]).await;
    let finish = tokio::time::timeout(WITHIN, waiting).await.unwrap();
    assert_eq!(finish.unwrap(), Finish::Empty);
    let health = a.node.health();
    let held = (&health["member"]["owned"], &health["member"]["read"]);
    assert_eq!(
        (
            health["draining"].as_bool(),
            held.0.as_u64(),
            held.1.as_u64()
        ),
        (Some(true), Some(0), Some(0)),
        "{health}"
    );
    assert_eq!((a.count().await, b.count().await), (20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_a_node_with_tls_at_an_address_that_the_certificate_does_not_name() {
    let (cluster, files, others) = (Cluster::new(), Certificates::new(), Certificates::new());
    let a = cluster.start("a", Some(&files)).await;
    cluster.settle(&[(&a, Active)]).await;
    a.create().await;
    let url = format!("https://{}", a.address.replace("localhost", "127.0.0.1"));
    let asked = async |cert: &Path, ca: &Path, more: &[&str]| {
        let (cert, ca) = (cert.to_str().unwrap(), ca.to_str().unwrap());
        let fixed = [
            "--url",
            &url,
            "--api-key",
            KEY,
            "--timeout",
            "0s",
            "--tls-cert",
            cert,
            "--tls-ca",
            ca,
        ];
        run(&pre_stop(&[&fixed[..], more].concat())).await.unwrap()
    };
    let alone = Finish::Alone { owned: 4, read: 0 };
    let mounted = asked(&files.cert(), &others.ca(), &[]).await;
    assert!(
        matches!(&mounted, Finish::Alone { owned: 4, .. }),
        "{mounted}"
    );
    // The files were renewed, and the node does not know them yet.
    let renewed = asked(&others.cert(), &files.ca(), &["--advertise", "localhost:1"]).await;
    assert_eq!(
        std::mem::discriminant(&renewed),
        std::mem::discriminant(&alone),
        "{renewed}"
    );
    for (cert, ca, more) in [
        (
            others.cert(),
            others.ca(),
            &["--advertise", "localhost:1"][..],
        ),
        (others.cert(), files.ca(), &[][..]),
    ] {
        let refused = asked(&cert, &ca, more).await.to_string();
        assert!(refused.contains("certificate"), "{refused}");
    }
}
