namespace Pollux.DataPlane.Control;

/// <summary>Times and limits of a <see cref="ControlLink"/>.</summary>
public sealed record ControlLinkOptions
{
    /// <summary>Bounds of the jittered pause before a new attempt, milliseconds. Two seconds: thousands of hosts come back spread out,
    /// and yet well within a usual detection time.</summary>
    public int BackoffMsMin { get; init; } = 200;
    public int BackoffMsMax { get; init; } = 2_000;

    /// <summary>Time for TCP, TLS and the WebSocket's upgrade together.</summary>
    public int ConnectMs { get; init; } = 3_000;

    /// <summary>Changes within this time go up as one message.</summary>
    public int CoalesceMs { get; init; } = 100;

    /// <summary>The observed state and a ping go up at least this often.</summary>
    public int RefreshMs { get; init; } = 5_000;

    /// <summary>Without a message from the gateway for this long the session is dropped: three refreshes, each of which is answered.</summary>
    public int SilenceMs { get; init; } = 15_000;

    /// <summary>Time for one message to leave; a gateway that does not read is a lost one.</summary>
    public int SendMs { get; init; } = 5_000;

    /// <summary>Open arbitration requests: each of 32 modules has one look and one change, and may have replaced each once.</summary>
    public int QuestionsMax { get; init; } = 128;
}
