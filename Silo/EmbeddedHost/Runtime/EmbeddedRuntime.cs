using Microsoft.Extensions.Logging;
using Orleans;
using Pollux.EmbeddedHost.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>What all activations of this process share.</summary>
internal sealed class EmbeddedRuntime
{
    public EmbeddedRuntime(IServiceProvider services, EmbeddedHostOptions options, TimeProvider time, ILogger<EmbeddedRuntime> logger)
    {
        Services = services;
        Options = options;
        Time = time;
        Logger = logger;
        Classes = new GrainClasses(options.GrainAssemblies);
        Catalog = new ActivationCatalog(this);
        References = new ReferenceFactory(this);
    }

    public IServiceProvider Services { get; }

    public EmbeddedHostOptions Options { get; }

    public TimeProvider Time { get; }

    public ILogger Logger { get; }

    public GrainClasses Classes { get; }

    public ActivationCatalog Catalog { get; }

    public ReferenceFactory References { get; }

    public IGrainFactory GrainFactory => References;

    public void LogOneWayFailure(Exception exception, string call) =>
        Logger.LogWarning(exception, "The one-way call {Call} failed.", call);

    public void LogFailureWithoutCodec(Exception exception, string call) =>
        Logger.LogError(exception, "{Call} failed with an exception that cannot cross a grain call.", call);
}
