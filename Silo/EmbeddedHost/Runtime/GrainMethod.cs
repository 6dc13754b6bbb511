using System.Collections.Concurrent;
using System.Reflection;
using Orleans;
using Orleans.Concurrency;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>A method of a grain or observer interface: its attributes and how to call and to be called.</summary>
internal abstract class GrainMethod
{
    private static readonly ConcurrentDictionary<MethodInfo, GrainMethod> Known = new();

    private readonly MethodInfo _method;

    protected GrainMethod(MethodInfo method)
    {
        _method = method;
        IsReadOnly = method.IsDefined(typeof(ReadOnlyAttribute));
        IsAlwaysInterleave = method.IsDefined(typeof(AlwaysInterleaveAttribute));
        IsOneWay = method.IsDefined(typeof(OneWayAttribute));
        ResponseTimeout = method.GetCustomAttribute<ResponseTimeoutAttribute>()?.Timeout;
        Name = $"{method.DeclaringType!.Name}.{method.Name}";
    }

    public string Name { get; }

    public bool IsReadOnly { get; }

    public bool IsAlwaysInterleave { get; }

    public bool IsOneWay { get; }

    public TimeSpan? ResponseTimeout { get; }

    public static GrainMethod Of(MethodInfo method) => Known.GetOrAdd(method, Create);

    /// <summary>The types that the caller awaits: Task, ValueTask and their generic forms.</summary>
    public static bool IsAwaitable(Type returnType) =>
        returnType == typeof(Task) || returnType == typeof(ValueTask)
        || (returnType.IsGenericType && returnType.GetGenericTypeDefinition() is var open && (open == typeof(Task<>) || open == typeof(ValueTask<>)));

    /// <summary>The caller's side: sends the call and returns what the method's signature says.</summary>
    public abstract object Call(ICallTarget target, object?[] arguments);

    /// <summary>The callee's side: runs the method on <paramref name="instance"/>.</summary>
    public abstract Task<object?> InvokeAsync(object instance, object?[] arguments);

    protected object Invoke(object instance, object?[] arguments) =>
        _method.Invoke(instance, BindingFlags.DoNotWrapExceptions, binder: null, arguments, culture: null)
        ?? throw new InvalidOperationException($"{Name} of {instance.GetType()} returned null instead of a task.");

    private static GrainMethod Create(MethodInfo method)
    {
        var type = method.ReturnType;
        if (method.IsGenericMethodDefinition || method.ContainsGenericParameters || !IsAwaitable(type))
            throw new NotSupportedException($"{method.DeclaringType}.{method.Name}: grain methods are not generic and return Task or ValueTask.");
        var result = type.IsGenericType ? type.GetGenericArguments()[0] : typeof(VoidResult);
        return (GrainMethod)Activator.CreateInstance(typeof(GrainMethod<>).MakeGenericType(result), method)!;
    }
}

/// <summary>Stands for the result of a method that has none.</summary>
internal readonly struct VoidResult;

internal sealed class GrainMethod<TResult>(MethodInfo method) : GrainMethod(method)
{
    private readonly bool _returnsValueTask = method.ReturnType.IsValueType;

    public override object Call(ICallTarget target, object?[] arguments)
    {
        var task = CallAsync(target, arguments);
        if (!_returnsValueTask)
            return task;
        return typeof(TResult) == typeof(VoidResult) ? new ValueTask(task) : new ValueTask<TResult>(task);
    }

    public override async Task<object?> InvokeAsync(object instance, object?[] arguments)
    {
        switch (Invoke(instance, arguments))
        {
            case Task<TResult> task:
                return await task;
            case Task task:
                await task;
                return null;
            case ValueTask<TResult> task:
                return await task;
            case ValueTask task:
                await task;
                return null;
            case var other:
                throw new InvalidOperationException($"{Name} returned {other.GetType()}.");
        }
    }

    private async Task<TResult> CallAsync(ICallTarget target, object?[] arguments)
    {
        var call = new CallTurn(this, arguments, target);
        target.Send(call);
        if (IsOneWay)
            return default!;
        return await call.Response.ConfigureAwait(false) is TResult result ? result : default!;
    }
}
