namespace Pollux.DataPlane.Fencing;

/// <summary>A device that resets the host when it is armed and not fed for its timeout.</summary>
public interface IWatchdogDevice : IDisposable
{
    /// <summary>What the device has accepted, milliseconds.</summary>
    long TimeoutMs { get; }

    /// <summary>It counts from now on. Repeating it feeds.</summary>
    /// <exception cref="IOException">The device refuses.</exception>
    void Arm();

    /// <exception cref="IOException">The device refuses.</exception>
    void Feed();

    /// <summary>It counts no longer.</summary>
    /// <exception cref="IOException">The device refuses; it may count still.</exception>
    void Disarm();
}
