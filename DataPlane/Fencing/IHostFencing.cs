namespace Pollux.DataPlane.Fencing;

/// <summary>What runs VMs says here which of them it cannot stop. None of the calls blocks.</summary>
public interface IHostFencing
{
    /// <summary>The VM was killed at that moment and is there still, and that is not because this host holds its I/O.</summary>
    void CannotStop(string domain, long sinceMs);

    /// <summary>It is gone, or its end waits for this host.</summary>
    void Stops(string domain);

    /// <summary>Null if VMs may start; else why not, for people.</summary>
    string? RefusesStart();
}

/// <summary>A host that has nothing to fence itself with: a VM that does not stop is waited for.</summary>
public sealed class NoFencing : IHostFencing
{
    public static NoFencing Instance { get; } = new();

    private NoFencing()
    {
    }

    public void CannotStop(string domain, long sinceMs)
    {
    }

    public void Stops(string domain)
    {
    }

    public string? RefusesStart() => null;
}
