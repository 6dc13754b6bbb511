namespace Pollux.DataPlane.Fencing;

/// <summary>The configured watchdog cannot be used; the message says why and what to do.</summary>
public sealed class WatchdogException(string message, Exception? inner = null) : Exception(message, inner);
