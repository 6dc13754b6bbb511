namespace Pollux.DataPlane.Commands;

/// <summary>The host cannot run here, or none runs; the message says why and what to do.</summary>
public sealed class HostStartException(string code, string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Stable, for example <c>host.not-root</c>.</summary>
    public string Code { get; } = code;
}
