//! What runtimes for Kubernetes tell of containers that start and end.
//!
//! CRI has events of its own, for the kubelet. CRI-O gives them to all who ask. containerd does not: up to
//! 1.7 each event goes to one client only, and would be taken from the kubelet; later, one client that
//! does not read makes the start of every container wait. So containerd is asked for its own events, which
//! it keeps for each client apart, and always had.

use prost::Message;

use super::Cri;
use super::channel::of_status;
use super::message::{
    CONTAINER_DELETED, CONTAINER_STOPPED, ContainerEventResponse, Envelope, GetEventsRequest,
    SubscribeRequest, TaskExit, TaskStart,
};
use crate::context::runtime::failure::Failure;
use crate::context::runtime::key::Id;
use crate::context::runtime::notice::{Notice, Notices};

const START: &str = "/tasks/start";
const EXIT: &str = "/tasks/exit";

/// Passes on containerd's own events of the containers of Kubernetes.
pub(super) async fn of_containerd(cri: &Cri, notices: &Notices) -> Result<(), Failure> {
    let filter = |topic: &str| format!("namespace==\"k8s.io\",topic==\"{topic}\"");
    let request = SubscribeRequest { filters: vec![filter(START), filter(EXIT)] };
    let method = "/containerd.services.events.v1.Events/Subscribe";
    let mut events = cri.stream::<_, Envelope>(method, request).await?;
    while let Some(envelope) = events.message().await.map_err(|status| of_status(&status))? {
        if let Some(notice) = notice(&envelope) {
            notices.tell(notice);
        }
    }
    Ok(())
}

/// Passes on the events of CRI.
pub(super) async fn of_cri(cri: &Cri, notices: &Notices) -> Result<(), Failure> {
    let method = "/runtime.v1.RuntimeService/GetContainerEvents";
    let mut events = cri.stream::<_, ContainerEventResponse>(method, GetEventsRequest {}).await?;
    while let Some(event) = events.message().await.map_err(|status| of_status(&status))? {
        if let Some(id) = Id::parse(event.container_id.as_bytes()) {
            notices.tell(match event.container_event_type {
                CONTAINER_STOPPED | CONTAINER_DELETED => Notice::Ended(id),
                _ => Notice::Changed(id),
            });
        }
    }
    Ok(())
}

/// What an event of containerd says of a container, if it does.
fn notice(envelope: &Envelope) -> Option<Notice> {
    let event = envelope.event.as_ref()?.value.as_slice();
    match envelope.topic.as_str() {
        START => {
            let start = TaskStart::decode(event).ok()?;
            Id::parse(start.container_id.as_bytes()).map(Notice::Changed)
        }
        EXIT => {
            let exit = TaskExit::decode(event).ok()?;
            // The end of what was executed in it later is not its end.
            let is_first = exit.id == exit.container_id;
            Id::parse(exit.container_id.as_bytes()).filter(|_| is_first).map(Notice::Ended)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::runtime::cri::message::Any;

    fn told(topic: &str, event: &impl Message) -> Option<Notice> {
        let event = Some(Any { value: event.encode_to_vec() });
        notice(&Envelope { topic: topic.to_owned(), event })
    }

    #[test]
    fn the_first_process_stands_for_its_container() {
        let container_id = "ab".repeat(32);
        let id = Id::parse(container_id.as_bytes()).unwrap();
        let start = TaskStart { container_id: container_id.clone() };
        assert_eq!(told(START, &start), Some(Notice::Changed(id)));
        let exit = |id: &str| TaskExit { container_id: container_id.clone(), id: id.to_owned() };
        assert_eq!(told(EXIT, &exit(&container_id)), Some(Notice::Ended(id)));
        assert_eq!(told(EXIT, &exit("exec-1")), None);
        assert_eq!(told("/tasks/oom", &start), None);
        assert_eq!(told(START, &TaskStart { container_id: "by-hand".to_owned() }), None);
        assert_eq!(notice(&Envelope { topic: START.to_owned(), event: None }), None);
        let garbage = Some(Any { value: vec![0xff; 9] });
        assert_eq!(notice(&Envelope { topic: START.to_owned(), event: garbage }), None);
    }
}
