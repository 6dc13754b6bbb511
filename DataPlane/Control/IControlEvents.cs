using Pollux.HostProtocol;

namespace Pollux.DataPlane.Control;

/// <summary>What the control plane tells this host. Called on the link's receiving loop, one at a time; must not block.</summary>
public interface IControlEvents
{
    /// <summary>A session is up: the peer of the session may be told what this host sees.</summary>
    void Connected();

    void DesiredChanged(DesiredState desired);

    /// <summary>The control plane has lost its memory and wants this host's: <see cref="ControlLink.Tell"/>, soon.</summary>
    void RecoverAsked(Recover question);

    /// <summary>The answer to <see cref="ControlLink.Ask"/>, given exactly once per question: from the control plane, or <c>unknown</c>.</summary>
    void Arbitrated(ArbitrationAnswer answer);

    /// <summary>A snapshot for the control plane; called on the sending loop.</summary>
    ObservedState Observe();
}
